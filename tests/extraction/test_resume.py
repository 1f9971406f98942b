"""Resuming keeps what was made of the audio that is there, and nothing else, in every format."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from extraction.helpers import speech

from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.extraction import extract
from emotion2vec.extraction.writers.ledger import Ledger
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.probe.features.stored.matching import StoredFeatures

RESUMED = ["npy", "npz", "safetensors", "parquet", "hdf5", "kaldi"]


def write_resumable(folder: Path, seed: int = 0, names: str = "abc") -> Path:
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.wav", speech(4_000, seed + place), 16_000, subtype="FLOAT")
    return folder


@pytest.mark.parametrize("format", RESUMED)
def test_resume_does_again_what_was_made_of_other_audio(model: Emotion2vec, tmp_path: Path, format: str) -> None:
    first, second, out = write_resumable(tmp_path / "1"), write_resumable(tmp_path / "2", seed=7), tmp_path / "out"
    for name in "abc":  # same names, sizes and times, other contents
        for folder in (first, second):
            os.utime(folder / f"{name}.wav", ns=(10**18, 10**18))
    shutil.copyfile(first / "b.wav", second / "b.wav")  # the same contents elsewhere
    options = {"model": model, "output": out, "format": format}
    assert extract(first, **options).written == 3
    report = extract(first, **options, resume=True)
    assert (report.written, report.skipped, report.redone) == (0, 3, 0)
    report = extract(second, **options, resume=True)
    assert (report.written, report.skipped, report.redone, report.exit_code) == (2, 1, 2, 0)
    assert report.summary.changed["done anew"] == 2
    clips = [Utterance(id=f"{name}.wav", file=f"{name}.wav", audio=second / f"{name}.wav") for name in "abc"]
    found = StoredFeatures(out, "mean").extract(clips)
    for clip, features in zip(clips, found, strict=True):
        assert not isinstance(features, str), features
        np.testing.assert_allclose(features.frames, model.extract_features(clip.path).frames, atol=1e-5)
    report = extract(second, **options, resume=True)
    assert (report.written, report.skipped, report.redone) == (0, 3, 0)


def test_resume_knows_a_file_that_was_replaced_without_a_trace(model: Emotion2vec, tmp_path: Path) -> None:
    folder, out = write_resumable(tmp_path / "in"), tmp_path / "out"
    times = os.stat(folder / "a.wav")
    extract(folder, model=model, output=out)
    soundfile.write(folder / "a.wav", speech(4_000, seed=9), 16_000, subtype="FLOAT")
    os.utime(folder / "a.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(folder / "b.wav")  # touched, not changed
    report = extract(folder, model=model, output=out, resume=True)
    assert (report.written, report.skipped, report.redone) == (1, 2, 1)
    np.testing.assert_allclose(np.load(out / "a.npy"), model.extract_features(folder / "a.wav").frames, atol=1e-5)
    (folder / "a.wav").write_bytes(b"")
    report = extract(folder, model=model, output=out, resume=True)  # no features of a file that is gone
    assert (report.written, report.skipped, report.exit_code) == (0, 2, 1) and not (out / "a.npy").exists()


def test_resume_does_again_a_stretch_or_channel_that_changed(model: Emotion2vec, tmp_path: Path) -> None:
    folder, out = write_resumable(tmp_path / "in"), tmp_path / "out"
    segments = tmp_path / "segments"
    segments.write_text("u a 0 0.1\nv b 0 0.1\nw c 0 0.1\n")
    extract(folder, model=model, output=out, segments=segments)
    segments.write_text("u a 0 0.1\nv b 0 0.2\nw a 0 0.1\n")
    report = extract(folder, model=model, output=out, segments=segments, resume=True)
    assert (report.written, report.skipped, report.redone) == (2, 1, 2)


def test_resume_does_again_what_was_taken_of_a_damaged_file(model: Emotion2vec, tmp_path: Path) -> None:
    folder, options = write_resumable(tmp_path / "in"), {"model": model, "output": tmp_path / "out"}
    whole = (folder / "b.wav").read_bytes()
    (folder / "b.wav").write_bytes(whole[: len(whole) // 2])
    report = extract(folder, **options)
    assert (report.written, len(report.failed)) == (2, 1)
    report = extract(folder, **options, accept_damaged=True, resume=True)
    assert (report.written, report.skipped, report.redone) == (1, 2, 0)  # what was made of whole files stays
    assert extract(folder, **options, accept_damaged=True, resume=True).skipped == 3
    report = extract(folder, **options, resume=True)
    assert (report.written, report.skipped, len(report.failed)) == (0, 2, 1)
    assert not (tmp_path / "out" / "b.npy").exists()


def test_what_other_processes_noted_is_taken_over_without_being_hashed_again(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write_resumable(tmp_path / "in"), tmp_path / "out"
    report = extract(folder, model=model, output=out)
    (out / "inputs.jsonl").rename(out / "inputs-1-2.jsonl")
    ledger = Ledger(out, "inputs.jsonl", "inputs*.jsonl", resume=False, at_once=True, stores_facts=False)
    monkeypatch.setattr("emotion2vec.extraction.writers.ledger.content_key", lambda path: pytest.fail("was hashed"))
    ledger.take_over(out.glob("inputs-*.jsonl"))
    ledger.close()
    assert [path.name for path in out.glob("inputs*")] == ["inputs.jsonl"]
    assert extract(folder, model=model, output=out, resume=True).skipped == report.written == 3


def test_labels_that_are_stored_are_kept_up_to_date(model: Emotion2vec, tmp_path: Path) -> None:
    folder = write_resumable(tmp_path / "in")
    table = folder / "list.csv"
    for format, redone in (("parquet", 1), ("npy", 0)):
        table.write_text("file,emotion\na.wav,sad\nb.wav,sad\n")
        extract(table, model=model, output=tmp_path / format, format=format)
        table.write_text("file,emotion\na.wav,sad\nb.wav,joy\n")
        assert extract(table, model=model, output=tmp_path / format, format=format, resume=True).redone == redone


@pytest.mark.parametrize("format", ["hdf5", "npy", "safetensors", "parquet", "npz"])
def test_ids_that_cannot_lie_beside_each_other_are_refused_first(
    model: Emotion2vec, tmp_path: Path, format: str
) -> None:
    folder, ending = tmp_path / "in", {"npy": "a.npy", "safetensors": "a.safetensors"}.get(format, "a/frames")
    names = ["a", f"{ending}/frames", "b"]
    utterances = [Utterance(id=name, audio=write_resumable(folder, names="a") / "a.wav") for name in names]
    for order in (1, -1):
        report = extract(Listing(utterances[::order], []), model=model, output=tmp_path / f"{order}", format=format)
        if format in ("parquet", "npz"):
            assert (report.written, report.failed) == (3, [])
        else:
            assert report.written == 2 and "cannot be held together" in report.failed[0].reason
