"""Stretches with speech: those of Silero's own code, on real speech with silence put in between."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion2vec.audio.samples import load_audio
from emotion2vec.audio.vad import FRAMES_AT_ONCE, SpeechDetector
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.sources import named as sources
from emotion2vec.extraction.sources.named import read_sources
from emotion2vec.model.encoder import Emotion2vec

SILENCE = 2.0


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    return SpeechDetector()


@pytest.fixture(scope="module")
def recording(shared: Path) -> np.ndarray:
    """Eight clips of real speech at 16 kHz, 2 s each, with faint noise of 2 s before, between and after them."""
    rng = np.random.default_rng(0)
    noise = [1e-4 * rng.standard_normal(int(SILENCE * 16_000)).astype(np.float32) for _ in range(9)]
    paths = sorted((shared / "data" / "emodb").rglob("*.flac"))[::60][:8]
    parts = [part for path, gap in zip(paths, noise, strict=False) for part in (gap, load_audio(path))]
    return np.concatenate([*parts, noise[-1]])


def test_regions_are_those_of_silero(detector: SpeechDetector, recording: np.ndarray) -> None:
    from silero_vad import get_speech_timestamps, load_silero_vad

    assert recording.size > FRAMES_AT_ONCE * 512  # more than one call of the network
    theirs = get_speech_timestamps(torch.from_numpy(recording), load_silero_vad(onnx=True, opset_version=15))
    blocks = np.split(recording, [100, 5_000, 300_001])
    ours = detector.regions(blocks)
    assert [(round(start * 16_000), round(end * 16_000)) for start, end in ours] == [
        (span["start"], span["end"]) for span in theirs
    ]
    assert len(ours) >= 8
    for start, end in ours:  # within a clip, but for what the detector adds at the edges
        assert (start + 0.1) % 4 > 2 - 0.1 and (end - 0.1) % 4 > 2
        assert end > start


def test_utterances_are_named_after_file_and_region(
    detector: SpeechDetector, recording: np.ndarray, model: Emotion2vec, tmp_path: Path
) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "talk.flac", recording, 16_000)
    soundfile.write(audio / "quiet.wav", np.zeros(32_000), 16_000)
    (audio / "broken.wav").write_bytes(b"RIFF no")
    regions = detector.regions([load_audio(audio / "talk.flac")])
    report = extract(audio, model=model, output=tmp_path / "out", segments="vad")
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.npy")) == sorted(
        f"talk_{start:.3f}_{end:.3f}" for start, end in regions
    )
    assert {Path(fault.where).name: fault.reason for fault in report.failed}["quiet.wav"] == "no speech was found in it"
    assert {Path(fault.where).name for fault in report.failed} == {"quiet.wav", "broken.wav"}
    assert report.exit_code == 1
    start, end = regions[0]
    features = np.load(tmp_path / "out" / f"talk_{start:.3f}_{end:.3f}.npy")
    expected = model.extract_features(load_audio(audio / "talk.flac", start=start, duration=end - start), 16_000)
    assert np.allclose(features, expected.frames, atol=1e-5)


def test_regions_of_segments_lie_within_them(detector: SpeechDetector, recording: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", recording, 16_000)
    (tmp_path / "list.csv").write_text("file,start,end\ntalk.wav,4.5,9\n")
    items = read_sources(tmp_path / "list.csv", segments="vad").utterances
    assert items and all(5.8 < (item.start or 0) < 8.2 for item in items)
    assert items[0].id.endswith(f"_{items[0].start:.3f}_{(items[0].start or 0) + (items[0].duration or 0):.3f}")
    assert read_sources(tmp_path / "list.csv", segments="vad", shard="1/2").utterances == []


def test_threads_of_pytorch_stay_as_they_were(detector: SpeechDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    torch.set_num_threads(2)
    try:
        SpeechDetector()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_workers_count_for_this_pass_too(model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    seen: list[int] = []
    monkeypatch.setattr(sources, "cut_at_silence", lambda items, workers: (seen.append(workers), ([], []))[1])
    extract(tmp_path, model=model, output=tmp_path / "out", segments="vad", workers=3)
    assert seen == [3]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs silero_vad and onnxruntime: pip install 'emotion2vec\[vad\]'"):
        read_sources(tmp_path, segments="vad")
