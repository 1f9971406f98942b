"""Extraction of the stretches with speech."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from talk import talk

from emotion2vec.audio.samples import load_audio
from emotion2vec.audio.vad import SpeechDetector
from emotion2vec.corpora.lists.speech import cut_at_silence
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.sources import named as sources
from emotion2vec.extraction.sources.named import read_sources
from emotion2vec.model.encoder import Emotion2vec


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    return SpeechDetector()


@pytest.fixture(scope="module")
def recording(shared: Path) -> np.ndarray:
    return talk(shared)


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


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_a_fault(
    detector: SpeechDetector, tmp_path: Path, value: float, channels: int
) -> None:
    """Such audio is no audio with a silent or a very loud place: nothing of it is heard."""
    samples = np.random.default_rng(0).normal(0, 0.1, (16_000, channels)).astype(np.float32)
    samples[[5_000, 9_000], 0] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, (fault,) = cut_at_silence([Utterance(id="a", audio=tmp_path / "a.wav")], workers=1)
    assert found == [] and fault.where == str(tmp_path / "a.wav")
    assert fault.reason == "2 of 16000 samples are NaN or infinite, expected finite samples"


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
