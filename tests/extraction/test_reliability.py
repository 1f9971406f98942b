"""Broken and odd inputs in one job each: every one is extracted or refused with a reason, and the others are done.

docs/reliability.md holds the counts of these cases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from extraction.broken import DAMAGES, FORMATS, damaged, encoded, lying, odd, wav_header
from extraction.helpers import WIDTH, speech

from emotion2vec.audio.decode import Note
from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.checkpoint import save_model
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction import ExtractionReport, extract
from emotion2vec.extraction.sources.decoding import Hearing, LongWaveform
from emotion2vec.model.encoder import Emotion2vec

resource = pytest.importorskip("resource", reason="Windows has none")

SLOWEST = 120.0


def check(report: ExtractionReport, out: Path, names: set[str]) -> dict[str, str]:
    """Every file ended as finite features or as a failure with a reason; returns the reasons."""
    reasons = {Path(fault.where).name: fault.reason for fault in report.failed}
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.npy")}
    assert report.written == len(written) and report.written + len(reasons) == len(names)
    assert reasons.keys() <= names and all(len(reason) > 10 for reason in reasons.values())
    for name in written:
        features = np.load(out / name)
        assert features.shape[-1] == WIDTH and np.isfinite(features).all()
    assert not [path for path in out.rglob("*") if path.name.endswith(".partial")]
    return reasons


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_files_of_every_format(model: Emotion2vec, tmp_path: Path, every: int) -> None:
    folder, names = tmp_path / "in", set()
    folder.mkdir()
    for name, content in damaged(every):
        (folder / name).write_bytes(content)
        names.add(name)
    assert len(names) == len(FORMATS) * 2 * DAMAGES // every
    before, started = peak_memory(), time.monotonic()
    report = extract(folder, model=model, output=tmp_path / "out")
    assert time.monotonic() - started < SLOWEST and peak_memory() - before < 500e6
    reasons = check(report, tmp_path / "out", names)
    assert 0.1 < len(reasons) / len(names) < 0.9  # some damage is fatal, and some is not
    assert report.exit_code == 1


def test_headers_that_lie(model: Emotion2vec, tmp_path: Path) -> None:
    folder, files = tmp_path / "in", lying()
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    before, started = peak_memory(), time.monotonic()
    report = extract(folder, model=model, output=tmp_path / "out")
    assert time.monotonic() - started < SLOWEST and peak_memory() - before < 500e6
    reasons = check(report, tmp_path / "out", files.keys())
    assert {"only_header.wav", "no_channel.wav", "text.wav", "html.mp3", "zeros.flac", "empty.ogg"} <= reasons.keys()


def test_odd_samples(model: Emotion2vec, tmp_path: Path) -> None:
    folder, cases = tmp_path / "in", odd()
    folder.mkdir()
    for name, (samples, rate, _) in cases.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")
    report = extract(folder, model=model, output=tmp_path / "out")
    reasons = check(report, tmp_path / "out", {f"{name}.wav" for name in cases})
    assert reasons.keys() == {f"{name}.wav" for name, (_, _, usable) in cases.items() if not usable}
    assert np.load(tmp_path / "out" / "400_samples.npy").shape == (1, WIDTH)
    assert len(np.load(tmp_path / "out" / "8_khz.npy")) == WAVEFORM_GRID.count(16_000)


NAMES = [
    "a b.wav", " leading.wav", "new\nline.wav", "tab\t.wav", "ä怒😀.wav", "-rf.wav", "--help.wav", "*.wav", "a.b.c.wav",
    "quote'\".wav", "$(echo).wav", "%s.wav", "UPPER.WAV", "con.wav", "x" * 250 + ".wav", os.fsdecode(b"\xff\xfe.wav"),
    "semi;colon.wav", "a=b.wav", "~.wav",
]  # fmt: skip


def test_odd_names(model: Emotion2vec, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    content = encoded("wav", speech(2_000))
    for name in NAMES:
        (folder / name).write_bytes(content)
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "self.wav").symlink_to("self.wav")
    (folder / "gone.wav").symlink_to("nowhere.wav")
    (folder / "linked.wav").symlink_to(folder / NAMES[0])
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    report = extract(folder, model=model, output=tmp_path / "out")
    written = {path.stem for path in (tmp_path / "out").glob("*.npy")}
    assert written == {Path(name).stem for name in NAMES} | {"linked"}
    assert {Path(fault.where).name for fault in report.failed} == {"self.wav", "gone.wav", "pipe.wav"}
    lines = (tmp_path / "out" / "failed.jsonl").read_text().splitlines()
    assert {Path(json.loads(line)["file"]).name for line in lines} == {"self.wav", "gone.wav", "pipe.wav"}


@pytest.mark.parametrize("path", ["../x.wav", "/etc/../x.wav", "a/../../x.wav", "x.wav\0", "", "."])
def test_paths_of_a_list_never_lead_out_of_the_output(model: Emotion2vec, tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    for place in (tmp_path / "x.wav", tmp_path / "in" / "good.wav"):
        place.write_bytes(encoded("wav", speech(2_000)))
    (tmp_path / "in" / "list.jsonl").write_text(f'{{"wav": "good.wav"}}\n{json.dumps({"wav": path})}\n')
    extract(tmp_path / "in" / "list.jsonl", model=model, output=tmp_path / "out" / "feats")
    assert (tmp_path / "out" / "feats" / "good.npy").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out", "x.wav"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"feats"}


def while_running(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[Path], object]) -> None:
    """Do something to a file after it was listed, before it is opened."""
    original = Utterance.blocks

    def blocks(self: Utterance, notes: list[Note] | None = None) -> Iterator[np.ndarray]:
        if Path(self.audio).name == name:
            act(Path(self.audio))
        return original(self, notes)

    monkeypatch.setattr(Utterance, "blocks", blocks)


@pytest.mark.parametrize(
    ("act", "fails"),
    [
        (Path.unlink, True),
        (lambda path: path.write_bytes(b""), True),
        (lambda path: (path.unlink(), path.mkdir()), True),
        (lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]), True),
        (lambda path: path.write_bytes(encoded("wav", speech(50_000))), False),
    ],
)
def test_files_that_change_during_the_run(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], object], fails: bool
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / "in" / name).write_bytes(encoded("wav", speech(10_000)))
    while_running(monkeypatch, "b.wav", act)
    report = extract(tmp_path / "in", model=model, output=tmp_path / "out")
    assert report.written == 3 - fails and len(report.failed) == fails


def test_a_long_file_that_grows_between_the_passes_keeps_its_first_length(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(encoded("wav", speech(60_000)))
    original = LongWaveform.blocks

    def grow(self: LongWaveform) -> Iterator[np.ndarray]:
        path.write_bytes(encoded("wav", speech(90_000)))
        return original(self)

    monkeypatch.setattr(LongWaveform, "blocks", grow)
    report = extract(path, model=model, output=tmp_path / "out", chunk_seconds=2, chunk_overlap=1)
    assert report.written == 1 and len(np.load(tmp_path / "out" / "x.npy")) == WAVEFORM_GRID.count(60_000)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_files_without_permission(model: Emotion2vec, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("wav", speech(2_000)))
    (tmp_path / "b.wav").write_bytes(encoded("wav", speech(2_000)))
    (tmp_path / "b.wav").chmod(0)
    report = extract(tmp_path, model=model, output=tmp_path / "out")
    assert report.written == 1 and "Permission denied" in report.failed[0].reason


def test_an_hour_is_read_in_constant_memory(model: Emotion2vec, tmp_path: Path) -> None:
    """Only decoding and statistics: digital silence of an hour at 8 kHz, 230 MB as floats at 16 kHz."""
    from emotion2vec.extraction.sources.decoding import Undecoded, decode

    path = tmp_path / "long.wav"
    size = 3_600 * 8_000 * 2
    path.write_bytes(wav_header(size, rate=8_000))
    os.truncate(path, size + 44)
    before = peak_memory()
    item = Utterance(id="x", audio=path)
    (clip,) = decode([Undecoded(0, "x", item.blocks)], workers=1, hearing=Hearing(400, 640_000, normalizes=True))
    assert isinstance(clip, LongWaveform) and clip.samples == 3_600 * 16_000
    assert peak_memory() - before < 100e6


@pytest.mark.slow
def test_nobody_reads_the_labels(tmp_path: Path) -> None:
    from networks import tiny_config

    network = Emotion2vec(tiny_config().model, labels=["angry", "neutral"])
    save_model(tmp_path / "model", network.config, network.state_dict(), labels=["angry", "neutral"])
    (tmp_path / "in").mkdir()
    for number in range(50):
        (tmp_path / "in" / f"{number}.wav").write_bytes(encoded("wav", speech(4_000)))
    command = [sys.executable, "-m", "emotion2vec", "predict", str(tmp_path / "in"), "--model", str(tmp_path / "model")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(timeout=60) == 1 and "Traceback" not in errors, errors


def test_no_thread_is_left(model: Emotion2vec, tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"")
    extract(tmp_path / "in", model=model, output=tmp_path / "out")
    assert threading.active_count() == before
