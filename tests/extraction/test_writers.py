from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from signals import interruptible

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import ArraySpec, FeatureArray
from emotion2vec.extraction.writers import Writer
from emotion2vec.extraction.writers import open_writer as open_real_writer
from emotion2vec.extraction.writers.base import write_npy
from emotion2vec.extraction.writers.job import JobRecord
from emotion2vec.locks import LOCK, only_writer


def utterance(id: str) -> Utterance:
    return Utterance(id=id, audio=Path("x.wav"), label="neutral")


class Frames:
    """A writer of jobs that want frames alone, which takes plain arrays."""

    def __init__(self, writer: Writer):
        self.target = lambda item: writer.targets(item)[0]
        self.has, self.close = writer.has, writer.close
        self.write = lambda item, array: writer.write(item, {"frames": FeatureArray.of(array)})


def open_writer(format: str, output: Path, *, resume: bool, shape: tuple[int | None, ...] = (None, 3)) -> Frames:
    layout = {"frames": ArraySpec(shape, np.dtype(np.float32))}
    return Frames(open_real_writer(format, output, layout, resume=resume))


def features(seed: int = 0, shape: tuple[int, ...] = (5, 3)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fail_to_write(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_npy(stream, array):  # type: ignore[no-untyped-def]
        stream.write(b"half of an array")
        raise OSError(code, os.strerror(code))

    for module in ("files", "npz"):
        monkeypatch.setattr(f"emotion2vec.extraction.writers.{module}.write_npy", write_npy)


def test_npy_files_lie_at_their_relative_paths(tmp_path: Path) -> None:
    writer = open_writer("npy", tmp_path / "deep" / "out", resume=False)
    arrays = {"a": features(0), "Ses01/b.c": features(1, (3,)), "Ses01/ä 怒": features(2, (2, 5, 3))[:, ::2]}
    for id, array in arrays.items():
        writer.write(utterance(id), array)
    writer.close()
    assert files_below(tmp_path / "deep" / "out") == sorted(f"{id}.npy" for id in arrays)
    for id, array in arrays.items():
        loaded = np.load(tmp_path / "deep" / "out" / f"{id}.npy", allow_pickle=False)
        np.testing.assert_array_equal(loaded, array)


def test_an_npz_holds_one_array_per_id(tmp_path: Path) -> None:
    writer = open_writer("npz", tmp_path / "out.npz", resume=False)
    arrays = {"a": features(0), "Ses01/b.c": features(1, (3,)), "Ses01/ä 怒": features(2, (2, 5, 3))[:, ::2]}
    for id, array in arrays.items():
        writer.write(utterance(id), array)
    assert not (tmp_path / "out.npz").exists()
    writer.close()
    assert files_below(tmp_path) == ["out.npz"]
    with np.load(tmp_path / "out.npz", allow_pickle=False) as loaded:
        assert list(loaded) == list(arrays)
        for id, array in arrays.items():
            np.testing.assert_array_equal(loaded[id], array)


def test_an_npz_in_a_folder_has_a_name_of_its_own(tmp_path: Path) -> None:
    writer = open_writer("npz", tmp_path / "feats", resume=False)
    writer.write(utterance("a"), features())
    writer.close()
    assert files_below(tmp_path) == ["feats/features.npz"]


@pytest.mark.parametrize("format", ["npy", "npz"])
@pytest.mark.parametrize(
    "id", ["../a", "a/../../b", "..", "/etc/a", "a//b", "a/", "", ".", "a/./b", "..\\a", "C:\\a", "a\0b"]
)
def test_ids_never_leave_the_output(tmp_path: Path, format: str, id: str) -> None:
    writer = open_writer(format, tmp_path / "out", resume=False)
    for attempt in (lambda: writer.target(utterance(id)), lambda: writer.write(utterance(id), features())):
        with pytest.raises(ManifestError, match="cannot name an output"):
            attempt()
    writer.close()
    assert files_below(tmp_path) == []


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    writer = open_writer("npy", tmp_path / "out", resume=False)
    with pytest.raises(ManifestError, match="follows a link out"):
        writer.write(utterance("link/deeper/a"), features())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    open_writer("npy", tmp_path / "link", resume=False).write(utterance("b/a"), features())
    assert files_below(tmp_path / "real") == ["b/a.npy"]


def test_files_get_ordinary_permissions(tmp_path: Path) -> None:
    for format in ("npy", "npz"):
        writer = open_writer(format, tmp_path, resume=False)
        writer.write(utterance("a"), features())
        writer.close()
    (tmp_path / "reference").write_bytes(b"")
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_a_failed_npy_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer("npy", tmp_path, resume=False)
    writer.write(utterance("a"), features(0))
    fail_to_write(errno.ENAMETOOLONG, monkeypatch)
    with pytest.raises(OSError, match="name too long"):
        writer.write(utterance("a"), features(1))
    assert files_below(tmp_path) == ["a.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), features(0))


def test_an_npy_is_replaced_at_once_and_never_rewritten(tmp_path: Path) -> None:
    writer = open_writer("npy", tmp_path / "out", resume=False)
    writer.write(utterance("a"), features(0))
    os.link(tmp_path / "out" / "a.npy", tmp_path / "reader.npy")  # a reader that has the old file open
    writer.write(utterance("a"), features(1))
    np.testing.assert_array_equal(np.load(tmp_path / "reader.npy"), features(0))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.npy"), features(1))


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupt_does_not_cut_an_array_of_an_npz_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(stream: IO[bytes], array: FeatureArray) -> None:
        whole = io.BytesIO()
        write_npy(whole, array)
        stream.write(whole.getvalue()[:100])
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        stream.write(whole.getvalue()[100:])

    writer = open_writer("npz", tmp_path, resume=False)
    writer.write(utterance("a"), features(0))
    monkeypatch.setattr("emotion2vec.extraction.writers.npz.write_npy", interrupted)
    with interruptible(), pytest.raises(KeyboardInterrupt):
        writer.write(utterance("b"), features(1))
    writer.close()
    with np.load(tmp_path / "features.npz") as loaded:
        for seed, id in enumerate(["a", "b"]):
            np.testing.assert_array_equal(loaded[id], features(seed))


def test_files_are_on_disk_before_their_names_and_folders_once_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real, replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        real(handle)

    def rename(partial: Path, path: Path) -> None:
        synced.append(f"named {path.name}")
        replace(partial, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    writer = open_writer("npy", tmp_path / "out", resume=False)
    for id in ("a", "deep/b"):
        writer.write(utterance(id), features())
    assert [name.endswith(".partial") for name in synced] == [True, False] * 2
    assert synced[1::2] == ["named a.npy", "named b.npy"]
    writer.close()
    assert synced[4:] == ["out", "deep"]


def test_a_full_disk_ends_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_write(errno.ENOSPC, monkeypatch)
    with pytest.raises(ConfigError, match="nothing more can be written: No space left"):
        open_writer("npy", tmp_path, resume=False).write(utterance("a"), features())
    assert files_below(tmp_path) == []


def test_a_broken_npz_is_dropped_and_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_writer("npz", tmp_path, resume=False)
    first.write(utterance("a"), features(0))
    first.close()
    second = open_writer("npz", tmp_path, resume=False)
    second.write(utterance("a"), features(1))
    with monkeypatch.context() as patch:
        fail_to_write(errno.ENOSPC, patch)
        with pytest.raises(ConfigError, match="archive cannot be written: No space left"):
            second.write(utterance("b"), features(1))
    second.close()
    assert files_below(tmp_path) == ["features.npz"]
    np.testing.assert_array_equal(np.load(tmp_path / "features.npz")["a"], features(0))


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_features_that_are_there_are_known_by_their_shape(tmp_path: Path, format: str) -> None:
    writer = open_writer(format, tmp_path, resume=False)
    writer.write(utterance("a"), features(0, (5, 3)))
    writer.close()
    for shape, expected in [((None, 3), True), ((5, 3), True)] + [
        (shape, False) for shape in [(3,), (None, 4), (None, None, 3), (4, 3)]
    ]:
        again = open_writer(format, tmp_path, resume=True, shape=shape)
        assert again.has(utterance("a")) == expected
        assert not again.has(utterance("b"))
        again.close()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array", None])
def test_what_is_no_whole_npy_is_not_taken_for_one(tmp_path: Path, content: bytes | None) -> None:
    writer = open_writer("npy", tmp_path, resume=False)
    writer.write(utterance("a"), features(0, (50, 3)))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-4] if content is None else content)
    assert not writer.has(utterance("a"))
    np.save(path, features().astype(np.float64))
    assert not writer.has(utterance("a"))


def test_an_npz_can_be_resumed(tmp_path: Path) -> None:
    def write(ids: dict[str, int], resume: bool) -> None:
        writer = open_writer("npz", tmp_path / "x.npz", resume=resume)
        for id, seed in ids.items():
            writer.write(utterance(id), features(seed))
        writer.close()

    write({"a": 0, "b": 1}, resume=False)
    before = (tmp_path / "x.npz").read_bytes()
    write({}, resume=True)
    assert (tmp_path / "x.npz").read_bytes() == before
    write({"b": 2, "c": 3}, resume=True)
    with np.load(tmp_path / "x.npz") as loaded:
        assert sorted(loaded) == ["a", "b", "c"]
        for id, seed in {"a": 0, "b": 2, "c": 3}.items():
            np.testing.assert_array_equal(loaded[id], features(seed))
    assert zipfile.ZipFile(tmp_path / "x.npz").testzip() is None
    write({"d": 4}, resume=False)
    assert list(np.load(tmp_path / "x.npz")) == ["d"]


def test_what_is_no_archive_cannot_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "features.npz").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match="cannot be resumed, it is no whole archive"):
        open_writer("npz", tmp_path, resume=True)


def test_without_features_there_is_no_archive_and_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    open_writer("npz", tmp_path, resume=False).close()
    assert files_below(tmp_path) == [] and threading.active_count() == before


def test_an_id_that_is_not_unicode_fits_npy_as_it_is_and_npz_with_escapes(tmp_path: Path) -> None:
    latin = utterance(os.fsdecode(b"\xe4"))
    open_writer("npy", tmp_path, resume=False).write(latin, features())
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xe4.npy"]
    writer = open_writer("npz", tmp_path, resume=False)
    writer.write(latin, features())
    writer.close()
    with np.load(tmp_path / "features.npz") as archive:
        assert archive.files == [r"\udce4"]


def test_an_npz_does_not_grow_in_memory(tmp_path: Path) -> None:
    writer = open_writer("npz", tmp_path, resume=False)
    array = features(shape=(250, 1000))  # 1 MB
    tracemalloc.start()
    for index in range(30):
        writer.write(utterance(str(index)), array)
    writer.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000 < (tmp_path / "features.npz").stat().st_size


def test_outputs_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the name of an archive, but format is 'npy'"):
        open_writer("npy", tmp_path / "x.npz", resume=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        open_writer("npy", tmp_path / "file", resume=False)
    with pytest.raises(ConfigError, match="is no folder"):
        open_writer("npz", tmp_path / "file" / "x.npz", resume=False)
    with pytest.raises(ConfigError, match="cannot be created: Not a directory"):
        open_writer("npy", tmp_path / "file" / "deeper", resume=False)


@pytest.mark.parametrize(
    ("there", "difference"),
    [
        ({"format_version": 1, "model": "a", "layer": 3}, None),
        ({"format_version": 1, "model": "a", "layer": 3, "summary": {"done": 5}}, None),
        ({}, r"format_version was None, now 1; layer was None, now 3; model was None, now 'a'"),
        ({"format_version": 1}, r"layer was None, now 3; model was None, now 'a'"),
        ({"format_version": 1, "model": "a"}, r"layer was None, now 3\."),
        ({"format_version": 1, "model": "a", "layer": 3, "older": True}, r"older was True, now None\."),
        ({"format_version": 2, "model": "a", "layer": 3}, r"format_version was 2, now 1\."),
        ({"format_version": 1, "model": "b", "layer": 3}, r"model was 'b', now 'a'\."),
        ([], "cannot be read, so nothing can be resumed"),
        ("{", "cannot be read, so nothing can be resumed"),
    ],
)
def test_what_a_job_was_made_with_must_be_all_of_what_it_is_made_with(
    tmp_path: Path, there: object, difference: str | None
) -> None:
    """A record of an older version that lacks a fact says nothing of it, so features are not kept."""
    record = JobRecord(tmp_path / "job.json", {"model": "a", "layer": 3})
    assert record.check() is False
    (tmp_path / "job.json").write_text(there if isinstance(there, str) else json.dumps(there))
    if difference is None:
        assert record.check() is True
    else:
        with pytest.raises(ConfigError, match=difference):
            record.check()


def test_shards_of_an_output_write_their_counts_in_turn(tmp_path: Path) -> None:
    path, written = tmp_path / "job.json", threading.Event()

    def write() -> None:
        JobRecord(path, {"model": "a"}, "-1-of-2").write({"done": 3})
        written.set()

    with only_writer(tmp_path / f".job.json{LOCK}", path):
        writer = threading.Thread(target=write)
        writer.start()
        assert not written.wait(0.3)  # another shard is writing
        JobRecord(path, {"model": "a"}).write()  # a job of all of it has a lock on its output, and waits for nobody
    writer.join(10)
    JobRecord(path, {"model": "a"}, "-0-of-2").write({"done": 2})
    assert json.loads(path.read_text())["summary"] == {"1-of-2": {"done": 3}, "0-of-2": {"done": 2}}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["job.json"]
