from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import DEPTH, WIDTH, speech, tiny_model
from signals import start_child

from emotion2vec.checkpoint import save_model
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import CheckpointError, ConfigError, ManifestError
from emotion2vec.extraction import ExtractionReport, extract
from emotion2vec.extraction.encode.choices import Layers
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.progress import Progress

Corpus = Callable[[Sequence[str]], Path]
NAMES = ["a.wav", "b.wav", "deep/d.wav", "deep/er/c.wav", "e.wav"]


def files_below(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    about = re.compile(r"(.*\.)?(job\.json|(failed|inputs)(-\d+-of-\d+)?\.jsonl)")
    return sorted(name for name in found if not about.fullmatch(name))


# What is written


@pytest.mark.parametrize("granularity", ["frame", "utterance"])
@pytest.mark.parametrize("layers", ["last", "all"])
def test_a_folder_gives_one_file_per_clip(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, granularity: str, layers: Layers
) -> None:
    speech_folder, out = write_corpus(NAMES), tmp_path / "out"
    report = extract(speech_folder, model=model, output=out, granularity=granularity, layers=layers)
    assert files_below(out) == [name.replace(".wav", ".npy") for name in NAMES]
    frames = 0
    for name in NAMES:
        expected = model.extract_features(speech_folder / name, layers=True)
        assert expected.layers is not None
        stack = expected.layers if layers == "all" else expected.layers[-1]
        frames += expected.frames.shape[0]
        found = np.load(out / name.replace(".wav", ".npy"), allow_pickle=False)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, stack if granularity == "frame" else stack.mean(axis=-2), atol=1e-5)
    seconds = sum(soundfile.info(speech_folder / name).duration for name in NAMES)
    assert report == ExtractionReport(5, 0, report.seconds, frames, [])
    assert report.seconds == pytest.approx(seconds)
    assert report.exit_code == 0


def test_frames_are_the_default_and_one_file_is_a_source(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path
) -> None:
    extract(str(write_corpus(["a.wav"]) / "a.wav"), model=model, output=str(tmp_path / "out"))
    assert np.load(tmp_path / "out" / "a.npy").shape == (9, WIDTH)


def test_an_npz_has_the_same_arrays(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus(NAMES)
    extract(folder, model=model, output=tmp_path / "out", granularity="utterance")
    extract(folder, model=model, output=tmp_path / "out.npz", granularity="utterance", format="npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert sorted(archive) == [name.removesuffix(".wav") for name in NAMES]
        for id in archive:
            np.testing.assert_array_equal(archive[id], np.load(tmp_path / "out" / f"{id}.npy"))


def test_segments_of_a_table(model: Emotion2vec, tmp_path: Path) -> None:
    samples = speech(32_000)
    soundfile.write(tmp_path / "long.wav", samples, 16_000, subtype="FLOAT")
    (tmp_path / "table.csv").write_text("file,start,end\nlong.wav,0.5,1.0\nlong.wav,1.0,1.75\nlong.wav,1.5,9\n")
    report = extract(tmp_path / "table.csv", model=model, output=tmp_path / "out")
    assert report.exit_code == 1 and "the segment ends at 9 s" in str(report.failed)
    assert len(files_below(tmp_path / "out")) == 2
    for path, (start, end) in zip(files_below(tmp_path / "out"), [(8000, 16_000), (16_000, 28_000)], strict=True):
        expected = model.extract_features(samples[start:end], 16_000)
        np.testing.assert_allclose(np.load(tmp_path / "out" / path), expected.frames, atol=1e-5)


def test_batches_do_not_change_features(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus([f"{index}.wav" for index in range(12)])
    for index in range(6):  # equal lengths, which share batches
        soundfile.write(folder / f"same{index}.wav", speech(5000, seed=index), 16_000, subtype="FLOAT")
    for batch_seconds, workers in ((0.1, 1), (4.0, 3)):
        out = tmp_path / f"out{workers}"
        report = extract(folder, model=model, output=out, batch_seconds=batch_seconds, workers=workers)
        assert report.written == 18
    for name in files_below(tmp_path / "out1"):
        one, other = np.load(tmp_path / "out1" / name), np.load(tmp_path / "out3" / name)
        np.testing.assert_allclose(one, other, atol=1e-5)


# What fails


def test_bad_files_are_named_and_the_others_done(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus(NAMES)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "garbage.flac").write_bytes(b"no audio" * 100)
    soundfile.write(folder / "short.wav", speech(399), 16_000)
    soundfile.write(folder / "nan.wav", np.full(4000, np.nan), 16_000, subtype="FLOAT")
    report = extract(folder, model=model, output=tmp_path / "out")
    reasons = {Path(fault.where).name: fault.reason for fault in report.failed}
    assert reasons.keys() == {"empty.wav", "garbage.flac", "short.wav", "nan.wav"}
    assert reasons["empty.wav"].startswith("the file is empty")
    assert reasons["garbage.flac"].startswith("cannot be decoded")
    assert reasons["short.wav"].startswith("too short, 399 samples")
    assert reasons["nan.wav"].startswith("4000 of 4000 samples are NaN")
    assert files_below(tmp_path / "out") == [name.replace(".wav", ".npy") for name in NAMES]
    assert (report.written, report.exit_code) == (5, 1)


def test_only_bad_files_is_exit_code_2(model: Emotion2vec, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "a.wav").write_bytes(b"")
    report = extract(tmp_path / "speech", model=model, output=tmp_path / "out")
    assert (report.written, len(report.failed), report.exit_code) == (0, 1, 2)
    assert files_below(tmp_path / "out") == []


def test_faults_of_the_manifest_are_reported(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus(["a.wav"])
    (folder / "list.csv").write_text("file\na.wav\ngone.wav\n")
    report = extract(folder / "list.csv", model=model, output=tmp_path / "out")
    assert report.written == 1 and report.exit_code == 1
    assert len(report.failed) == 1 and "gone.wav" in str(report.failed[0])


def test_a_root_can_be_given(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus(["a.wav"])
    (tmp_path / "list.csv").write_text("file\na.wav\n")
    assert extract(tmp_path / "list.csv", model=model, root=folder, output=tmp_path / "out").exit_code == 0


def test_one_name_in_two_formats_gives_two_outputs(model: Emotion2vec, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    for seed, name in enumerate(["a.wav", "a.flac"]):
        soundfile.write(tmp_path / "speech" / name, speech(4000, seed), 16_000)
    report = extract(tmp_path / "speech", model=model, output=tmp_path / "out")
    assert report.written + len(report.failed) == 2
    assert len(files_below(tmp_path / "out")) == report.written == 2


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_colliding_and_unsafe_ids_are_faults(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, format: str
) -> None:
    folder = write_corpus(NAMES)
    ids = ["x", "x", "../out", "/abs", "y\\z"]
    utterances = [Utterance(id=id, audio=folder / name) for id, name in zip(ids, NAMES, strict=True)]
    report = extract(Listing(utterances, []), model=model, output=tmp_path / "out", format=format)
    assert report.written == 1 and len(report.failed) == 4
    assert report.failed[0] == Fault(
        str(folder / NAMES[1]), f"would overwrite x.npy, the output of {folder / NAMES[0]}"
    )
    assert all("cannot name an output" in fault.reason for fault in report.failed[1:])
    out = tmp_path / "out"
    x = np.load(out / "x.npy") if format == "npy" else np.load(out / "features.npz")["x"]
    np.testing.assert_allclose(x, model.extract_features(folder / NAMES[0]).frames, atol=1e-5)
    assert len(files_below(out)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"speech", "out"}


def test_a_name_that_the_disk_refuses_is_a_fault(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus(["a.wav", "b.wav"])
    utterances = [Utterance(id="n" * 300, audio=folder / "a.wav"), Utterance(id="b", audio=folder / "b.wav")]
    report = extract(Listing(utterances, []), model=model, output=tmp_path / "out")
    assert report.written == 1
    assert [fault.where for fault in report.failed] == [str(folder / "a.wav")]
    assert "a name of 304 bytes, expected at most 255" in report.failed[0].reason
    assert files_below(tmp_path / "out") == ["b.npy"]


def test_wrong_options_are_gathered(model: Emotion2vec, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        extract(
            tmp_path, model=model, output=tmp_path, granularity="word", format="mat", precision="int4",
            batch_seconds=0, workers=0,
        )  # fmt: skip
    for fault in (
        "granularity is 'word', expected frame or utterance",
        "format is 'mat', expected npy, npz, safetensors",
        "precision is 'int4', expected auto, fp32, bf16, fp16, int8",
        "batch_seconds is 0",
        "workers is 0",
    ):
        assert fault in str(caught.value)


def test_nothing_is_made_when_the_command_is_wrong(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder, out = write_corpus(["a.wav"]), tmp_path / "out"
    with pytest.raises(ManifestError):
        extract(tmp_path / "gone", model=model, output=out)
    with pytest.raises(CheckpointError):
        extract(folder, model=tmp_path / "gone", output=out)
    with pytest.raises(ConfigError, match="layers is 7"):
        extract(folder, model=model, output=out, layers=DEPTH + 4)
    with pytest.raises(ConfigError, match="device is 'tpux'"):
        extract(folder, model=model, output=out, device="tpux")
    assert not out.exists()


# Resuming and interrupts


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_resume_does_what_is_missing(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, format: str) -> None:
    folder, out = write_corpus(NAMES[:2]), tmp_path / "out"
    extract(folder, model=model, output=out, format=format)
    marked = np.full((9, WIDTH), 7.0, np.float32)
    if format == "npy":
        np.save(out / "a.npy", marked)
        (out / "b.npy").write_bytes((out / "b.npy").read_bytes()[:-1])
    else:
        np.savez(out / "features.npz", a=marked)
    soundfile.write(folder / "new.wav", speech(4000), 16_000)
    report = extract(folder, model=model, output=out, format=format, resume=True)
    assert (report.written, report.skipped, report.exit_code) == (2, 1, 0)

    def load(id: str) -> np.ndarray:
        return np.load(out / f"{id}.npy") if format == "npy" else np.load(out / "features.npz")[id]

    np.testing.assert_array_equal(load("a"), marked)
    np.testing.assert_allclose(load("b"), model.extract_features(folder / "b.wav").frames, atol=1e-5)
    assert load("new").shape[1] == WIDTH
    report = extract(folder, model=model, output=out, format=format)
    assert (report.written, report.skipped) == (3, 0)
    np.testing.assert_allclose(load("a"), model.extract_features(folder / "a.wav").frames, atol=1e-5)


def test_resume_is_refused_when_others_made_the_features(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path
) -> None:
    folder, out = write_corpus(["a.wav"]), tmp_path / "out"
    extract(folder, model=model, output=out)
    with pytest.raises(ConfigError, match="granularity was 'frame', now 'utterance'"):
        extract(folder, model=model, output=out, granularity="utterance", resume=True)
    other = tiny_model()
    with torch.no_grad():
        other.backbone.alibi_scale.add_(0.1)
    with pytest.raises(ConfigError, match="model was"):
        extract(folder, model=other, output=out, resume=True)
    with pytest.raises(ConfigError, match="channel was None, now 0"):
        extract(folder, model=model, output=out, channel=0, resume=True)
    assert extract(folder, model=model, output=out, resume=True).skipped == 1
    (out / "job.json").unlink()  # nothing is known of what is there
    assert extract(folder, model=model, output=out, resume=True).written == 1


def test_resume_is_refused_when_the_file_of_weights_has_changed(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path
) -> None:
    folder, options = write_corpus(["a.wav"]), {"output": tmp_path / "out", "layers": f"weights:{tmp_path / 'w.json'}"}
    (tmp_path / "w.json").write_text("[1, 1, 2]")
    extract(folder, model=model, **options)
    assert extract(folder, model=model, **options, resume=True).skipped == 1
    (tmp_path / "w.json").write_text("[2, 1, 1]")
    with pytest.raises(ConfigError, match="layer_weights was"):
        extract(folder, model=model, **options, resume=True)


def test_failures_are_listed_in_a_file(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder, out = write_corpus(["a.wav"]), tmp_path / "out"
    (folder / "b.wav").write_bytes(b"")
    extract(folder, model=model, output=out)
    (line,) = (out / "failed.jsonl").read_text().splitlines()
    assert json.loads(line) == {"file": str(folder / "b.wav"), "reason": "the file is empty (0 bytes), expected audio"}
    (folder / "b.wav").unlink()
    extract(folder, model=model, output=out, resume=True)
    assert not (out / "failed.jsonl").exists()


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_shards_share_the_work_and_the_output(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, format: str
) -> None:
    folder, out = write_corpus(NAMES), tmp_path / "out"
    reports = [extract(folder, model=model, output=out, format=format, shard=f"{i}/3") for i in range(3)]
    assert [report.written for report in reports] == [2, 2, 1]
    if format == "npy":
        assert len(files_below(out)) == 5
    else:
        assert sum(len(np.load(path).files) for path in out.glob("features-*-of-3.npz")) == 5
    for shard in ("3/3", "-1/3", "1", "a/b", "0/0"):
        with pytest.raises(ConfigError, match="expected i/n"):
            extract(folder, model=model, output=out, shard=shard)


@pytest.mark.parametrize("format", ["npy", "npz"])
def test_an_interrupt_keeps_what_is_finished(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, format: str
) -> None:
    folder, out = write_corpus(NAMES), tmp_path / "out"
    threads = threading.active_count()

    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(folder, model=model, output=out, format=format, on_progress=interrupt)
    assert threading.active_count() == threads
    if format == "npy":
        arrays = [np.load(out / name) for name in files_below(out)]
    else:
        assert files_below(out) == ["features.npz"]
        arrays = list(np.load(out / "features.npz").values())
    assert len(arrays) >= 2  # the next ones may have been on their way to the writer
    assert all(array.shape[1] == WIDTH for array in arrays)
    report = extract(folder, model=model, output=out, format=format, resume=True)
    assert (report.written, report.skipped) == (5 - len(arrays), len(arrays))


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("format", ["npy", "npz"])
def test_ctrl_c_leaves_only_whole_files(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, format: str) -> None:
    folder, out = write_corpus([f"{index}.wav" for index in range(40)]), tmp_path / "out"
    save_model(tmp_path / "model", model.config, model.state_dict())
    script = f"""
import sys, time
from emotion2vec.extraction import extract
def report(progress):
    print(progress.done, flush=True)
    time.sleep(0.05)
extract({str(folder)!r}, model={str(tmp_path / "model")!r}, output={str(out)!r}, format={format!r}, on_progress=report)
"""
    with start_child([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        assert job.stdout is not None and job.stderr is not None
        while job.stdout.readline().strip() != b"3":
            assert job.poll() is None, job.stderr.read().decode()
        job.send_signal(signal.SIGINT)
        _, errors = job.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors and job.returncode != 0
    if format == "npy":
        arrays = [np.load(out / name) for name in files_below(out)]
    else:
        assert files_below(out) == ["features.npz"]
        arrays = list(np.load(out / "features.npz").values())
    assert 3 <= len(arrays) < 40
    assert all(array.shape[1] == WIDTH and np.isfinite(array).all() for array in arrays)


# Progress


def test_progress_counts_files_and_seconds(model: Emotion2vec, write_corpus: Corpus, tmp_path: Path) -> None:
    folder = write_corpus(NAMES)
    (folder / "bad.wav").write_bytes(b"")
    seen: list[Progress] = []
    started = time.monotonic()
    report = extract(folder, model=model, output=tmp_path / "out", on_progress=seen.append)
    assert [progress.done for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert {progress.total for progress in seen} == {6}
    assert seen[-1].failed == 1 and seen[-1].seconds == pytest.approx(report.seconds)
    assert 0 < seen[-1].elapsed <= time.monotonic() - started
    assert seen[-1].speed == pytest.approx(report.seconds / seen[-1].elapsed)


def test_the_bar_is_silent_without_a_terminal(
    model: Emotion2vec, write_corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract(write_corpus(NAMES), model=model, output=tmp_path / "out", progress=True)
    assert capsys.readouterr() == ("", "")


def test_the_bar_shows_files_and_hours_on_a_terminal(
    model: Emotion2vec,
    write_corpus: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    folder = write_corpus(NAMES)
    (folder / "bad.wav").write_bytes(b"")
    extract(folder, model=model, output=tmp_path / "out", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "6/6" in err and re.search(r"\d\.\d s  [\d.,]+× real time", err) and "1 failed" in err


# Real speech


def test_real_speech(model: Emotion2vec, shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "data" / "emodb" / "audio").rglob("*.flac"))[:6]
    paths += sorted((shared / "data" / "nemo" / "audio").rglob("*.opus"))[:6]
    manifest = Listing([Utterance(id=path.stem, audio=path) for path in paths], [])
    report = extract(manifest, model=model, output=tmp_path, granularity="utterance", batch_seconds=10)
    assert (report.written, report.exit_code) == (12, 0)
    vectors = torch.from_numpy(np.stack([np.load(tmp_path / f"{path.stem}.npy") for path in paths]))
    assert torch.isfinite(vectors).all() and torch.pdist(vectors).min() > 1e-4
