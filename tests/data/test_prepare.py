from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from signals import interruptible, start_child

from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data import prepare_workers as module
from emotion2vec.data import shard_writer
from emotion2vec.data.config import PrepareOptions
from emotion2vec.data.prepare import _plan, prepare
from emotion2vec.data.shard_writer import write_shard
from emotion2vec.data.shards import ShardSource
from emotion2vec.errors import ConfigError, ManifestError, StorageError


def contents(folder: Path) -> dict[str, np.ndarray]:
    """Every utterance of a prepared folder, as training reads it."""
    source = ShardSource(str(folder))
    entries = source.entries([(0, int(source.counts.sum()))])
    loaded = dict(source.load(entries))
    assert [len(samples) for samples in loaded.values()] == entries["length"].tolist()
    return loaded  # type: ignore[return-value]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def speech(write_audio, tmp_path: Path) -> Path:
    for number in range(11):
        write_audio(f"speech/s{number % 3}/u{number:02d}.wav", seconds=0.3 + 0.05 * number, seed=number)
    write_audio("speech/wide.flac", seconds=0.5, rate=44_100, channels=2)
    write_audio("speech/lossy.opus", seconds=0.5, rate=48_000)
    return tmp_path / "speech"


def test_whole_files_keep_their_bytes_and_lhotse_reads_them(speech: Path, tmp_path: Path) -> None:
    from lhotse import CutSet

    report = prepare(speech, tmp_path / "out", shard_size=5, workers=2)
    assert (report.utterances, report.shards, report.faults) == (13, 3, [])
    assert report.rates == Counter({16_000: 11, 44_100: 1, 48_000: 1})
    assert report.channels == Counter({1: 12, 2: 1})
    assert report.seconds == pytest.approx(sum(0.3 + 0.05 * n for n in range(11)) + 1.0)
    loaded = contents(tmp_path / "out")
    for path in speech.rglob("*.*"):
        np.testing.assert_array_equal(
            loaded[path.relative_to(speech).with_suffix("").as_posix()], load_audio(path), err_msg=str(path)
        )
    cuts = list(CutSet.from_shar(in_dir=tmp_path / "out" / "shar"))
    assert [cut.id for cut in cuts] == list(loaded)
    for cut in cuts:
        if cut.sampling_rate == 16_000:
            np.testing.assert_allclose(cut.load_audio()[0], loaded[cut.id], atol=1e-6)
    assert not (tmp_path / "out" / ".prepare").exists()
    assert [cut.id for cut in cuts] != sorted(loaded)  # shards are samples of the whole corpus


def test_resampled_copies_are_16_khz_mono_flac(speech: Path, tmp_path: Path) -> None:
    from lhotse import CutSet

    loud = np.full(8_000, 0.5)
    loud[:4_000] = 1.7  # beyond full scale
    soundfile.write(speech / "loud.wav", loud, 16_000, subtype="FLOAT")
    prepare(speech, tmp_path / "out", resample=True, workers=1)
    loaded = contents(tmp_path / "out")
    np.testing.assert_allclose(loaded["wide"], load_audio(speech / "wide.flac"), atol=2**-15)
    np.testing.assert_allclose(loaded["loud"], loud / 1.7, atol=2**-15)
    assert {cut.sampling_rate for cut in CutSet.from_shar(in_dir=tmp_path / "out" / "shar")} == {16_000}


@pytest.mark.parametrize("copy", [True, False])
def test_segments_channels_and_labels(write_audio, tmp_path: Path, copy: bool) -> None:
    from lhotse import CutSet

    write_audio("x.wav", seconds=2.0, channels=2)
    (tmp_path / "list.csv").write_text("file,start,end,emotion,speaker\nx.wav,0.5,1.5,joy,anna\nx.wav,1,2,fear,bert\n")
    prepare(tmp_path / "list.csv", tmp_path / "out", copy=copy, workers=1)
    loaded = contents(tmp_path / "out")
    samples = soundfile.read(tmp_path / "x.wav", dtype="float32")[0].mean(axis=1)
    np.testing.assert_allclose(loaded["x_0.500_1.500"], samples[8_000:24_000], atol=2**-15 if copy else 1e-7)
    np.testing.assert_allclose(loaded["x_1.000_2.000"], samples[16_000:], atol=2**-15 if copy else 1e-7)
    shar = tmp_path / "out" / "shar"
    cuts = list(CutSet.from_shar(in_dir=shar) if copy else CutSet.from_file(shar / "cuts.000000.jsonl"))
    assert {(cut.id, cut.supervisions[0].speaker, cut.supervisions[0].custom["emotion"]) for cut in cuts} == {
        ("x_0.500_1.500", "anna", "joy"),
        ("x_1.000_2.000", "bert", "fear"),
    }


def test_files_are_named_where_nothing_is_copied(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare("speech", "out", copy=False, shard_size=4, workers=1)
    assert {path.name for path in (tmp_path / "out" / "shar").iterdir()} == {f"cuts.00000{n}.jsonl" for n in range(4)}
    monkeypatch.chdir("/")
    loaded = contents(tmp_path / "out")
    assert len(loaded) == 13
    np.testing.assert_array_equal(loaded["s0/u03"], load_audio(speech / "s0" / "u03.wav"))


def test_long_and_dotted_ids(write_audio, tmp_path: Path) -> None:
    name = "a.b/" + "very_long_" * 15 + "é.x"
    write_audio(f"speech/{name}.wav")
    prepare(tmp_path / "speech", tmp_path / "out", workers=1)
    assert list(contents(tmp_path / "out")) == [name]


def test_faults_are_named_and_the_rest_is_written(speech: Path, tmp_path: Path) -> None:
    (speech / "empty.wav").touch()
    (speech / "text.wav").write_text("not audio")
    bad = np.zeros(8_000, dtype=np.float32)
    bad[7] = np.nan
    soundfile.write(speech / "nan.wav", bad, 16_000, subtype="FLOAT")
    soundfile.write(speech / "tiny.wav", bad[:300] * 0, 16_000)
    half = (speech / "wide.flac").read_bytes()
    (speech / "half.flac").write_bytes(half[: len(half) // 2])
    report = prepare(speech, tmp_path / "out", shard_size=4, workers=1)
    assert report.utterances == 13
    reasons = {Path(fault.where).name: fault.reason for fault in report.faults}
    assert reasons.keys() == {"empty.wav", "text.wav", "nan.wav", "tiny.wav", "half.flac"}
    assert "0 bytes" in reasons["empty.wav"] and "NaN" in reasons["nan.wav"] and "too short" in reasons["tiny.wav"]
    lines = (tmp_path / "out" / "faults.tsv").read_text().splitlines()
    assert len(lines) == 6 and f"{speech / 'empty.wav'}\tthe file is empty (0 bytes), expected audio" in lines
    again = prepare(speech, tmp_path / "out", shard_size=4, workers=1)
    assert (again.utterances, again.faults) == (13, report.faults)


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "empty.wav").touch()
    with pytest.raises(ManifestError, match=r"none of 1 entries can be used: .*empty\.wav: the file is empty"):
        prepare(tmp_path / "speech", tmp_path / "out", workers=1)


def test_the_header_of_a_recording_is_read_once_for_all_its_utterances(
    write_audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read, original = write_audio("long.flac", seconds=4.0), [], shard_writer.read_header
    monkeypatch.setattr(
        shard_writer, "read_header", lambda *rest, **more: (read.append(rest), original(*rest, **more))[1]
    )
    for name in (".prepare", "shar"):
        (tmp_path / "out" / name).mkdir(parents=True)
    listed = [Utterance(id=f"s{number}", audio=path, start=float(number), duration=1.0) for number in range(4)]
    options = PrepareOptions(source=path, output=str(tmp_path / "out"))
    summary = write_shard(0, listed, tmp_path / "out", options, lambda: False)
    assert summary is not None and summary.seconds == [1.0] * 4 and len(read) == 1


def test_continued_is_uninterrupted(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(speech, tmp_path / "whole", shard_size=3, workers=1)
    written: list[int] = []

    def interrupted(number: int, *rest) -> object:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(number)
        return write_shard(number, *rest, lambda: False)

    class InProcess:
        """Runs what a pool would, at once."""

        def __init__(self, *ignored, **more) -> None: ...
        def shutdown(self, **ignored) -> None: ...
        def submit(self, function, *arguments):
            from concurrent.futures import Future

            future: Future = Future()
            try:
                future.set_result(interrupted(*arguments))
            except KeyboardInterrupt as error:
                future.set_exception(error)
            return future

    with monkeypatch.context() as patched:
        patched.setattr(module, "ProcessPoolExecutor", InProcess)
        with pytest.raises(KeyboardInterrupt):
            prepare(speech, tmp_path / "parts", shard_size=3, workers=1)
    with pytest.raises(ManifestError, match=r"holds no shards\.json, expected a folder that .* has completed"):
        ShardSource(str(tmp_path / "parts"))
    with pytest.raises(ConfigError, match="other settings"):
        prepare(speech, tmp_path / "parts", shard_size=4)
    report = prepare(speech, tmp_path / "parts", shard_size=3, workers=1)
    assert report.resumed == 2
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_ctrl_c_is_noted_while_locks_of_the_pool_may_be_taken(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited, waiting = [], module.wait

    def interrupted(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.01)  # where it would be raised
        waited.append(True)
        return waiting(*args, **options)

    monkeypatch.setattr(module, "wait", interrupted)
    with interruptible(), pytest.raises(KeyboardInterrupt):
        prepare(speech, tmp_path / "out", shard_size=1, workers=1)
    assert waited == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, 9])
def test_a_killed_preparation_leaves_no_process_and_continues(write_audio, tmp_path: Path, number: int) -> None:
    for item in range(80):  # too many to be done before the signal arrives
        write_audio(f"speech/u{item}.flac", seconds=10.0, seed=item)
    command = [sys.executable, "-m", "emotion2vec", "prepare", str(tmp_path / "speech"), str(tmp_path / "out")]
    options = ["--shard-size", "1", "--workers", "1", "--resample"]
    child = start_child([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / "out").glob(".prepare/0*.json")) and time.monotonic() < deadline and child.poll() is None
    ):
        time.sleep(0.01)
    child.send_signal(number)  # to the main process alone
    _, errors = child.communicate(timeout=180)  # ends when no worker holds the pipe any more
    assert child.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "shards.json").exists()
    report = prepare(tmp_path / "speech", tmp_path / "out", shard_size=1, workers=1, resample=True)
    assert report.resumed >= 1 and report.utterances == 80


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": "s3://bucket/x"}, "expected a folder of this machine"),
        ({"resample": True, "copy": False}, "resample is on and copy off"),
        ({"shard_size": 0}, "shard_size is 0"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_wrong_arguments(speech: Path, tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(speech, **{"output": tmp_path / "out", **settings})


def test_other_files_are_left_alone(speech: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").touch()
    with pytest.raises(ConfigError, match="holds other files, expected a new or empty folder"):
        prepare(speech, tmp_path / "out")
    with pytest.raises(ConfigError, match="which is a file"):
        prepare(speech, tmp_path / "out" / "thesis.doc")


def test_a_disk_that_takes_nothing_says_so(speech: Path) -> None:
    with pytest.raises(StorageError, match=r"/proc/x: cannot be written: .*; the same command continues"):
        prepare(speech, "/proc/x", workers=1)


def test_what_shards_hold_decides_the_plan(speech: Path) -> None:
    plain = Utterance(id="x", audio=speech)
    changed = {
        "id": "y",
        "audio": speech / "y",
        "start": 1.0,
        "duration": 1.0,
        "channel": 1,
        "label": "a",
        "speaker": "b",
    }
    digests = [_plan([replace(plain, **{name: value})])["digest"] for name, value in changed.items()]
    assert len({_plan([plain])["digest"], *digests}) == 1 + len(changed)
    assert _plan([replace(plain, text="never stored")]) == _plan([plain])
    digest = _plan([Utterance(id="x", audio=Path("/none/x.wav"), start=1.5, label="sad")])["digest"]
    assert digest == "98a4a58eced462164649450a438d9238"  # preparations of earlier versions go on


def test_the_index_is_small(speech: Path, tmp_path: Path) -> None:
    prepare(speech, tmp_path / "out", workers=1)
    assert (tmp_path / "out" / "index.bin").stat().st_size == 13 * 16
    assert json.loads((tmp_path / "out" / "shards.json").read_text())["counts"] == [13]
