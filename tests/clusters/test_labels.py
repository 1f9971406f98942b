"""Labels on disk: each frame's nearest center, whatever is interrupted, and what is said of their use."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from clusters.frames_of_numbers import Numbers, Reshaped, clips_of
from clusters.test_kmeans import heaps
from scipy.stats import entropy
from sklearn.metrics import normalized_mutual_info_score

from emotion2vec.clusters import labels as module
from emotion2vec.clusters.frames import CepstralFrames
from emotion2vec.clusters.labels import StoredLabels, Task, make_labels
from emotion2vec.clusters.report import report_of
from emotion2vec.clusters.settings import ClusterSettings, Scale, check_clusters, usual_layers
from emotion2vec.data import pieces
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.pieces import PIECE_SECONDS
from emotion2vec.errors import ConfigError, StorageError


class Alone:
    """One process."""

    rank, size, is_main = 0, 1, True

    def main_only(self, work: Any) -> Any:
        return work()

    def raise_together(self, error: Exception | None) -> None:
        if error is not None:
            raise error


def task(folder: Path, facts: Any = None, **settings: Any) -> Task:
    wanted = ClusterSettings(**{"layers": [1, 2], "counts": [4], "batch": 300} | settings)
    return Task(folder, Reshaped(), wanted, 0, facts or {})


def made(task: Task, *clips: Any) -> list[str]:
    said: list[str] = []
    make_labels(
        task, [Numbers(part, name="c" * (1 + number)) for number, part in enumerate(clips)], Alone(), said.append
    )  # type: ignore[arg-type]
    return said


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PIECE_SECONDS > 60
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 10 * 100 / 16_000)  # of ten clips


@pytest.mark.parametrize(("counts", "dtype"), [([4, 256], np.uint8), ([4, 257], np.uint16)])
def test_every_frame_has_its_nearest_centers(counts: list[int], dtype: Any, tmp_path: Path, short_pieces: None) -> None:
    frames, _ = heaps(2.0)
    clips: list[Any] = clips_of(frames)
    clips[7] = None
    clips[8] = np.full(100, np.inf, np.float32)
    one = task(tmp_path / "c", counts=counts, batch=400)
    made(one, clips[:50], clips[50:])
    clusters, stored = module.read_clusters(one.folder, one.settings), StoredLabels(one.folder)
    assert len([*one.folder.glob("part_*")]) > 5
    for number in (0, 11, 29):
        found = stored.frames(f"c{number}", 3, 20)
        assert found is not None and found.dtype == dtype and found.shape == (20, 4)
        for column, (scale, centers) in enumerate(clusters.centers.items()):
            rows = clusters.standardized(scale.layer, frames[scale.layer - 1][25 * number + 3 : 25 * number + 23])
            apart = np.square(rows[:, None] - centers[None]).sum(axis=2)
            assert np.array_equal(found[:, column], apart.argmin(axis=1))
    assert stored.frames("c0", 6, 20) is None and stored.frames("c7", 0, 1) is None
    assert stored.why_not("c7") == "c7: broken" and stored.why_not("c8") == "its frames are not finite"


def test_what_was_interrupted_goes_on_and_is_the_same(tmp_path: Path, short_pieces: None) -> None:
    clips = clips_of(heaps(2.0)[0])
    one, other = task(tmp_path / "c"), task(tmp_path / "d")
    first = made(one, clips)
    assert any("perplexity" in line for line in first) and made(one, clips) == []
    shutil.copytree(one.folder, other.folder)
    shutil.rmtree(other.folder / "part_00003")
    (other.folder / "report.json").unlink()
    kept = (other.folder / "part_00002" / "labels.npy").stat().st_mtime_ns
    assert not any("fitted" in line for line in made(other, clips))
    assert (other.folder / "part_00002" / "labels.npy").stat().st_mtime_ns == kept
    (other.folder / "clusters.safetensors").unlink()  # the same are found again
    made(other, clips)
    for path in one.folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (other.folder / path.relative_to(one.folder)).read_bytes(), path.name


class InStep(Alone):
    """One of two processes, which are threads here."""

    size = 2

    def __init__(self, rank: int, barrier: threading.Barrier) -> None:
        self.rank, self.barrier = rank, barrier

    def main_only(self, work: Any) -> Any:
        if self.rank == 0:
            work()
        self.barrier.wait()

    def raise_together(self, error: Exception | None) -> None:
        self.barrier.wait()
        super().raise_together(error)


def test_a_process_that_comes_late_labels_its_own_parts(
    tmp_path: Path, short_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one goes on when the first has written all of its own."""
    one, sources, barrier = task(tmp_path / "c"), [Numbers(clips_of(heaps(2.0)[0]))], threading.Barrier(2, timeout=20)
    done, read, write, written = threading.Event(), module.read_clusters, module._write_part, list[str]()

    def late(*args: Any) -> Any:
        assert threading.current_thread().name == "0" or done.wait(20)
        return read(*args)

    def noted(folder: Path, *rest: Any) -> None:
        write(folder, *rest)
        written.append(threading.current_thread().name)
        if written.count("0") == 4:
            done.set()

    monkeypatch.setattr(module, "read_clusters", late)
    monkeypatch.setattr(module, "_write_part", noted)
    threads = [
        threading.Thread(target=make_labels, args=(one, sources, InStep(rank, barrier), print), name=str(rank))  # type: ignore[arg-type]
        for rank in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == ["0"] * 4 + ["1"] * 4 and len(StoredLabels(one.folder).places) == 80


def test_a_part_that_is_gone_is_told_before_the_report(
    tmp_path: Path, short_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_write_part", lambda folder, *rest: None)
    with pytest.raises(StorageError, match=r"c: part_00000, .*part_00007 are not there, expected all"):
        made(task(tmp_path / "c"), clips_of(heaps(2.0)[0]))
    assert not (tmp_path / "c" / "report.json").exists()


def test_clips_of_lists_have_ids_of_their_own_and_of_any_bytes(tmp_path: Path) -> None:
    """Before anything is clustered; names that are no UTF-8 are as good as others."""
    names, random = [b"caf\xe9.wav", "Żółw.wav".encode()], np.random.default_rng(0)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in names:
            with open(os.fsencode(tmp_path / folder) + b"/" + name, "wb") as stream:
                soundfile.write(stream, random.normal(size=16_000), 16_000, format="WAV")

    def label(folder: Path, *lists: str) -> None:
        given = [str(tmp_path / name) for name in lists]
        corpus = open_corpus(given, weights=[1, 2][: len(lists)], min_samples=400, max_bad_share=0, workers=1)
        wanted = ClusterSettings(layers=[1], counts=[4], batch=90)
        make_labels(Task(folder, CepstralFrames(), wanted, 0, {}), corpus.sources, Alone(), print)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"data.train: 2 of 2 ids are of several clips, such as .*their own"):
        label(tmp_path / "both", "one", "two")
    assert not (tmp_path / "both").exists()
    label(tmp_path / "c", "one")
    assert {*StoredLabels(tmp_path / "c").places} == {os.fsdecode(name[:-4]) for name in names}


def test_other_clusters_and_other_clips_are_refused(tmp_path: Path) -> None:
    clips = clips_of(heaps(2.0)[0])
    made(task(tmp_path / "c"), clips)
    with pytest.raises(ConfigError, match=r"holds other clusters.*counts is \[4\] there and \[5\] now"):
        made(task(tmp_path / "c", counts=[5]), clips)
    with pytest.raises(ConfigError, match=r"holds other clusters.*clips is"):
        made(task(tmp_path / "c"), clips[:-1])
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"else: holds no clusters.json, expected a new folder"):
        made(task(tmp_path / "else"), clips)
    (tmp_path / "c" / "clusters.json").write_text("{")
    with pytest.raises(ConfigError, match=r"clusters.json: cannot be read as a header of clusters"):
        made(task(tmp_path / "c"), clips)


def test_a_part_and_centers_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    clips = clips_of(heaps(2.0)[0])
    made(task(tmp_path / "c"), clips)
    (tmp_path / "c" / "part_00000" / "clips.json").write_text("[")
    with pytest.raises(ConfigError, match="part_00000: cannot be read as labels of frames"):
        StoredLabels(tmp_path / "c")
    (tmp_path / "c" / "report.json").unlink()
    with pytest.raises(ConfigError, match="part_00000: cannot be read as labels"):
        made(task(tmp_path / "c"), clips)
    (tmp_path / "c" / "clusters.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match=r"clusters.safetensors: cannot be read as clusters"):
        made(task(tmp_path / "c"), clips)


def test_frames_that_are_all_alike_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"all frames are in one cluster \(layer 1, K = 4; layer 2, K = 4\)"):
        made(task(tmp_path / "c"), clips_of(np.ones((2, 500, 2))))


def test_the_report_is_that_of_scikit_learn_and_scipy(tmp_path: Path, short_pieces: None) -> None:
    frames, heap = heaps(4.0)
    random = np.random.default_rng(0)
    facts = {"emotion": {}, "gender": {}, "corpus": {f"c{i}": "one" for i in range(80)}}  # type: ignore[var-annotated]
    order = np.argsort(heap + random.normal(0, 0.8, heap.size))  # so that clips are of few heaps
    for number in range(80):
        facts["emotion"][f"c{number}"] = f"e{number // 20}"
        if number % 3:
            facts["gender"][f"c{number}"] = "fm"[number % 2]
    one = task(tmp_path / "c", facts, counts=[4, 9])
    said = made(one, clips_of(frames[:, order]))
    document = json.loads((one.folder / "report.json").read_text())
    stored = StoredLabels(one.folder)
    rows = np.concatenate([stored.frames(f"c{number}", 0, 25) for number in range(80)])  # type: ignore[misc]
    clip = np.repeat(np.arange(80), 25)
    for column, found in enumerate(document):
        labels, use = rows[:, column], np.bincount(rows[:, column], minlength=found["count"])
        assert (found["layer"], found["count"]) == [(1, 4), (1, 9), (2, 4), (2, 9)][column]
        assert found["frames"] == 2_000 and found["used"] == np.count_nonzero(use)
        assert found["seldom"] == sum(0 < count < 0.1 * 2_000 / found["count"] for count in use)
        assert found["perplexity"] == pytest.approx(np.exp(entropy(use)))
        assert found["information"].keys() == {"emotion", "gender"}
        assert found["information"]["emotion"] == pytest.approx(normalized_mutual_info_score(clip // 20, labels))
        known = clip % 3 > 0
        expected = normalized_mutual_info_score(clip[known] % 2, labels[known])
        assert found["information"]["gender"] == pytest.approx(expected, abs=1e-9)
    assert document[0]["information"]["emotion"] > 0.15
    assert f"NMI with emotion {document[0]['information']['emotion']:.3f}" in "".join(said)


def test_clusters_that_are_empty_or_seldom_used_are_told(tmp_path: Path) -> None:
    part = tmp_path / "part_00000"
    part.mkdir()
    np.save(part / "labels.npy", np.array([[0]] * 200 + [[1]] + [[2]] * 99, np.uint8))
    (part / "clips.json").write_text(json.dumps({"clips": [["a", 0, 300]], "left_out": {}, "inertia": [600.0]}))
    (found,) = report_of(tmp_path, [Scale(3, 5)], {"speaker": {}})
    assert (found.used, found.seldom, found.inertia, found.information) == (3, 1, 2.0, {})
    assert str(found) == (
        f"layer 3, K = 5: inertia 2, perplexity {np.exp(entropy([200, 1, 99])):.1f}; 2 clusters of 5 empty; "
        "1 cluster seldom used"
    )


def test_layers_are_the_published_ones_of_twelve_and_are_there_in_fewer() -> None:
    assert [usual_layers(depth) for depth in (12, 24, 3, 2, 1)] == [[6, 9, 12], [12, 18, 24], [2, 3], [1, 2], [1]]


def test_settings_that_cannot_work() -> None:
    faults = check_clusters(ClusterSettings(layers=[2, 2], counts=[], batch=100), "clusters.")
    assert faults == [
        "clusters.layers is [2, 2], expected each number once",
        "clusters.counts is empty, expected at least one number",
    ]
    (fault,) = check_clusters(ClusterSettings(counts=[500], batch=100), "c.")
    assert fault == "c.counts has 500 and c.batch is 100, expected at least as many frames as clusters"
