"""Jobs on a Ray cluster: the pieces by themselves, and (slow, where ray is installed) clusters of this machine."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from extraction.helpers import speech

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.audio.windows import Chunking
from emotion2vec.checkpoint import save_model
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.options import ExecutorOptions
from emotion2vec.extraction.ray import executor as ray_executor
from emotion2vec.extraction.ray import worker as ray_worker
from emotion2vec.extraction.ray.executor import RayExecutor, Shares, share_out
from emotion2vec.extraction.ray.worker import Assignment, DecodeItems, EncodeClips, pack_items, unpack_result
from emotion2vec.extraction.run import ExtractionReport
from emotion2vec.extraction.sources.decoding import Hearing
from emotion2vec.extraction.writers import Writer, ledger, open_writer
from emotion2vec.extraction.writers.outputs import open_outputs
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.progress import Progress

Corpus = Callable[[Sequence[str]], Path]
CHUNKING = Chunking(2, 1)


# The pieces, without a cluster


def carry_out(
    items: list[Utterance], model: Emotion2vec, writer: Writer | None, folder: Path, marker: Path | None
) -> Any:
    """What a cluster does with one block of items: outcomes, or the features that travelled, by index."""
    own = copy.deepcopy(model)  # an actor never gives its model back
    encoder = Encoder(own, FeatureChoice(granularity="both"), precision="fp32", chunking=CHUNKING)
    actor = EncodeClips(Assignment(lambda: encoder, writer, folder, marker, "cpu", "fp32", None))
    decoded = DecodeItems(Hearing(400, CHUNKING.samples, normalizes=True))(pack_items(dict(enumerate(items, start=7))))
    rows = [row for table in actor(decoded) for row in table.to_pylist()]
    return {result.index: result for result in (unpack_result(row, encoder.layout) for row in rows)}


@pytest.fixture
def clips(tmp_path: Path) -> list[Utterance]:
    """Short, long, broken, and with a name that is no Unicode."""
    names = ["a.wav", "long.wav", "bad.wav", os.fsdecode(b"\xff.wav")]
    for name, samples in zip(names, (3000, 70_000, 0, 4000), strict=True):
        soundfile.write(os.fsencode(tmp_path / name), speech(samples), 16_000, subtype="FLOAT", format="WAV")
    return [Utterance(id=Path(name).stem, audio=tmp_path / name, label="x") for name in names]


@pytest.mark.parametrize("travels", [False, True])
def test_a_block_gives_what_a_job_on_this_machine_gives(
    model: Emotion2vec, clips: list[Utterance], tmp_path: Path, travels: bool
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    options: dict[str, Any] = {"granularity": "both", "chunk_seconds": 2, "chunk_overlap": 1}
    report = extract([str(item.audio) for item in clips], model=model, output=here, **options)
    layout = Encoder(model, FeatureChoice(granularity="both"), precision="fp32", chunking=CHUNKING).layout
    writer = None if travels else open_writer("npy", there, layout)
    found = carry_out(clips, model, writer, there, None)
    assert sorted(found) == [7, 8, 9, 10]
    assert sum(result.frames for result in found.values()) == report.frames
    assert sum(result.seconds for result in found.values()) == pytest.approx(report.seconds)
    assert [found[9].reason] == [fault.reason for fault in report.failed]
    for index, item in enumerate(clips, start=7):
        result = found[index]
        assert isinstance(result, EncodedAudio) == (travels and index != 9)
        for name in layout if index != 9 else ():
            expected = np.load(here / f"{item.id}.{name}.npy")
            other = result.features[name].whole() if travels else np.load(there / f"{item.id}.{name}.npy")
            np.testing.assert_array_equal(other, expected)
    assert found[8].frames == WAVEFORM_GRID.count(70_000)


@pytest.mark.parametrize("samples", [3_000, 70_000])
def test_what_is_to_be_said_of_audio_travels(model: Emotion2vec, tmp_path: Path, samples: int) -> None:
    pair = np.stack([speech(samples), -speech(samples)], axis=1)
    soundfile.write(tmp_path / "a.wav", pair, 16_000, subtype="FLOAT")
    found = carry_out([Utterance(id="a", audio=tmp_path / "a.wav")], model, None, tmp_path, None)
    (result,) = found.values()
    assert isinstance(result, EncodedAudio) and [note.kind for note in result.notes] == ["louder-channel"]


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_rows_that_arrive_in_any_order_are_written_in_that_of_the_list(
    model: Emotion2vec, clips: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """The side of the job's own process, with a cluster that does the last block first and loses an item once."""
    lost = [1]

    def rows(self: RayExecutor, todo: Any, indices: Any, size: int, work: Assignment, encoder: Encoder) -> Any:
        actor = EncodeClips(work)
        for index in reversed(indices):
            if index in lost:
                lost.remove(index)
                continue
            decoded = DecodeItems(Hearing(400, CHUNKING.samples, normalizes=True))(pack_items({index: todo[index]}))
            yield from (row for table in actor(decoded) for row in table.to_pylist())

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(put=lambda encoder: encoder, get=copy.deepcopy))
    monkeypatch.setattr(RayExecutor, "_rows", rows)
    choice, out = FeatureChoice(), tmp_path / "out"
    executor = RayExecutor(model, "fp32", Shares("cpu", 1, {}, 1.0, 32), ExecutorOptions(engine="ray"))
    encoder = Encoder(model, choice, precision="fp32", chunking=CHUNKING)
    items = [replace(item, id=f"item {number}") for number, item in enumerate(clips)]
    hashed: list[Path] = []
    monkeypatch.setattr(ledger, "content_key", lambda path: hashed.append(path) or "hash")
    with open_outputs(format, out, encoder.layout) as outputs:
        plan = outputs.plan(items, resume=False)
        outcomes = list(executor.outcomes(plan.todo, encoder, outputs, out))
    assert sorted(outcome.index for outcome in outcomes) == [0, 1, 2, 3]
    assert [outcome.index for outcome in outcomes if outcome.reason is not None] == [2]
    if format == "parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(out / "features-00000.parquet")
        assert table["id"].to_pylist() == ["item 0", "item 1", "item 3"]
    assert sorted(path.name for path in hashed) == sorted(items[number].audio.name for number in (0, 1, 3))  # type: ignore[union-attr]
    assert [path.name for path in out.glob("inputs*")] == ["inputs.jsonl"]
    assert len((out / "inputs.jsonl").read_text().splitlines()) == 3
    with open_outputs(format, out, encoder.layout, resume=True) as outputs:
        assert outputs.plan(items, resume=True).skipped == 3


def test_features_that_are_too_large_to_travel_fail_alone(
    model: Emotion2vec, clips: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_worker, "MOST_BYTES", 10_000)
    found = carry_out(clips, model, None, tmp_path, None)
    assert "expected format npy or safetensors, or engine local" in found[8].reason
    assert isinstance(found[7], EncodedAudio) and isinstance(found[10], EncodedAudio)


def test_an_output_that_the_actor_does_not_see_ends_the_job(
    model: Emotion2vec, clips: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="expected a shared folder"):
        carry_out(clips, model, None, tmp_path, tmp_path / "elsewhere" / "marker")


def test_a_fault_of_the_program_is_not_taken_for_a_bad_file(
    model: Emotion2vec, clips: list[Utterance], tmp_path: Path
) -> None:
    class Broken:
        separate = True

        def write(self, item: Utterance, arrays: object) -> None:
            """Take everything."""

        def close(self) -> None:
            raise TypeError("not as planned")

    with pytest.raises(RuntimeError, match="not as planned"):
        carry_out(clips, model, Broken(), tmp_path, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resources", "device", "actors", "expected"),
    [
        ({"CPU": 8.0}, None, None, ("cpu", 8)),
        ({"CPU": 8.0}, "auto", 3, ("cpu", 3)),
        ({"CPU": 64.0, "GPU": 4.0}, None, None, ("cuda", 4)),
        ({"CPU": 64.0, "GPU": 4.0}, "cpu", None, ("cpu", 64)),
        ({"CPU": 64.0}, "cuda", 2, ("cuda", 2)),  # a cluster that grows
        ({}, None, None, ("cpu", 1)),
    ],
)
def test_how_a_cluster_is_shared_out(
    resources: dict[str, float], device: str | None, actors: int | None, expected: tuple[str, int]
) -> None:
    shares = share_out(resources, device, actors)
    assert (shares.device, shares.actors) == expected
    assert shares.actor["num_gpus"] == (shares.device == "cuda")
    assert shares.actor["num_cpus"] + shares.decode_cpus == pytest.approx(1)


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="the cluster has no GPU"):
        share_out({"CPU": 8.0}, "cuda", None)


def test_wrong_options_are_gathered(model: Emotion2vec, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        extract(tmp_path, model=model, output=tmp_path, ray_address="x:1", actors=0)
    for fault in ("ray_address is 'x:1', which needs engine ray", "actors is 0, expected 1 or more"):
        assert fault in str(caught.value)
    with pytest.raises(ConfigError, match="engine is 'spark', expected local or ray"):
        extract(tmp_path, model=model, output=tmp_path, engine="spark")
    with pytest.raises(ConfigError, match="device is 'cuda:1', expected cpu, cuda or auto"):
        extract(tmp_path, model=model, output=tmp_path, engine="ray", device="cuda:1")


def test_what_is_no_model_is_refused(write_corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="model is a int, expected"):
        extract(write_corpus(["a.wav"]), model=3, output=tmp_path / "out", engine="ray")  # type: ignore[arg-type]


def test_the_missing_package_is_named(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'emotion2vec\[ray\]'"):
        extract(write_corpus(["a.wav"]), model=model, output=tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


# On a cluster of this machine

POISON = """
import builtins, os
real = builtins.open
def poisoned(path, *args, **kwargs):
    if str(path).endswith("poison.wav"):
        os._exit(1)
    return real(path, *args, **kwargs)
builtins.open = poisoned
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two CPUs; its processes die when they open a file called poison.wav."""
    ray = pytest.importorskip("ray", reason="needs ray: pip install 'emotion2vec[ray]', or make test-ray")
    folder = tmp_path_factory.mktemp("poison")
    (folder / "sitecustomize.py").write_text(POISON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        for name, value in ray_executor.QUIET.items():
            patch.setenv(name, value)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the list of what they were made from, which says when, in the order in which it was done."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("inputs"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_real_speech_gives_the_same_files_bit_for_bit(
    cluster: None, model: Emotion2vec, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    paths = sorted((shared / "data" / "emodb" / "audio").rglob("*.flac"))[:6]
    for path in [*paths, *sorted((shared / "data" / "nemo" / "audio").rglob("*.opus"))[:40]]:
        (folder / path.name).symlink_to(path)
    (folder / "bad.wav").write_bytes(b"no audio")
    seen: list[Progress] = []
    reports: list[ExtractionReport] = []
    for engine in ("local", "ray"):
        reports.append(extract(folder, model=model, output=tmp_path / engine, engine=engine, on_progress=seen.append))
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert len(contents(tmp_path / "ray")) == 46 + 2
    assert (reports[1].written, reports[1].exit_code, reports[1].failed) == (46, 1, reports[0].failed)
    assert reports[1].frames == reports[0].frames and reports[1].seconds == pytest.approx(reports[0].seconds)
    assert [progress.done for progress in seen[47:]] == list(range(1, 48))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["parquet", "npz", "iemocap"])
def test_formats_with_many_items_in_a_file(
    cluster: None, model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, format: str
) -> None:
    folder = write_corpus([f"{index}.wav" for index in range(6)])
    (folder / "list.csv").write_text("file,emotion\n" + "".join(f"{index}.wav,sad\n" for index in range(6)))
    for engine in ("local", "ray"):
        report = extract(folder / "list.csv", model=model, output=tmp_path / engine, format=format, engine=engine)
        assert report.exit_code == 0
        if format != "iemocap":
            resumed = extract(
                folder / "list.csv", model=model, output=tmp_path / engine, format=format, engine=engine, resume=True
            )
            assert (resumed.written, resumed.skipped) == (0, 6)
    found = {engine: contents(tmp_path / engine) for engine in ("local", "ray")}
    assert found["ray"].keys() == found["local"].keys()
    if format == "parquet":
        import pyarrow.parquet

        tables = [pyarrow.parquet.read_table(tmp_path / e / "features-00000.parquet") for e in ("local", "ray")]
        assert tables[0].equals(tables[1])  # in the order of the list
    elif format == "npz":
        here, there = (np.load(tmp_path / engine / "features.npz") for engine in ("local", "ray"))
        assert {id: here[id].tobytes() for id in here} == {id: there[id].tobytes() for id in there}
    elif format == "iemocap":
        assert found["ray"] == found["local"]


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def actor_processes() -> list[int]:
    """Processes that hold a model, of the cluster that this process started: test -> raylet -> actor."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_actor = (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker(MapBatches(EncodeClips))")
            if is_actor and parent(parent(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_killed_process_loses_nothing(cluster: None, model: Emotion2vec, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(120):
        soundfile.write(folder / f"{index}.wav", speech(6000 + 10 * index, seed=index), 16_000)
    killed: list[int] = []

    def kill_once(progress: Progress) -> None:
        if not killed:
            killed.extend(actor_processes()[:1])
            for process in killed:
                os.kill(process, signal.SIGKILL)

    report = extract(folder, model=model, output=out, engine="ray", actors=1, on_progress=kill_once)
    assert len(killed) == 1
    assert (report.written, report.failed) == (120, [])
    extract(folder, model=model, output=tmp_path / "local")
    here, there = contents(tmp_path / "local"), contents(out)
    assert {name: there[name] for name in here} == here  # beside them may lie what the process was writing


@pytest.mark.slow
def test_a_file_that_kills_its_process_fails_alone(
    cluster: None, model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "RETRIES", 1)
    folder = write_corpus(["a.wav", "b.wav", "poison.wav", "z.wav"])
    report = extract(folder, model=model, output=tmp_path / "out", engine="ray")
    assert report.written == 3 and report.exit_code == 1
    (fault,) = report.failed
    assert fault.where.endswith("poison.wav") and "died, 4 times in a row" in fault.reason


@pytest.mark.slow
def test_a_killed_job_is_resumed(model: Emotion2vec, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'emotion2vec[ray]', or make test-ray")
    save_model(tmp_path / "model", model.config, model.state_dict())
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(300):
        soundfile.write(folder / f"{index}.wav", speech(6000 + 10 * index, seed=index), 16_000)
    (folder / "bad.wav").write_bytes(b"")
    command = [sys.executable, "-m", "emotion2vec", "extract", str(folder), "--model", str(tmp_path / "model")]
    command += ["--output", str(out), "--engine", "ray"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as job:
        deadline = time.monotonic() + 900
        while not list(out.glob("*.npy")) and time.monotonic() < deadline:
            assert job.poll() is None, job.communicate()[1].decode()
            time.sleep(0.02)
        job.kill()
    time.sleep(5)  # its cluster goes after it
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    assert 0 < len(before) < 300
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 1 and f"{len(before)} were there already" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "1 failed:" in done.stderr
    assert len(list(out.glob("*.npy"))) == 300
    assert {path: path.stat().st_mtime_ns for path in before} == before
