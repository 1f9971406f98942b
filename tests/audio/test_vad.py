"""Stretches with speech: those of Silero's own code, on real speech with silence put in between."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from talk import talk

from emotion2vec.audio.vad import FRAMES_AT_ONCE, SpeechDetector
from emotion2vec.errors import AudioError


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    return SpeechDetector()


def test_regions_are_those_of_silero(detector: SpeechDetector, shared: Path) -> None:
    from silero_vad import get_speech_timestamps, load_silero_vad

    recording = talk(shared)
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


def test_samples_that_are_not_finite_are_refused_wherever_they_are(detector: SpeechDetector) -> None:
    blocks = [np.zeros(700, np.float32), np.full(3, np.inf, np.float32), np.zeros(500_000, np.float32)]
    with pytest.raises(AudioError, match=r"^3 of 500703 samples are NaN or infinite, expected finite samples$"):
        detector.regions(blocks)
    with pytest.raises(AudioError, match=r"^3 of 500703 samples"):
        detector.regions(blocks[::-1])


def test_threads_of_pytorch_stay_as_they_were(detector: SpeechDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    torch.set_num_threads(2)
    try:
        SpeechDetector()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
