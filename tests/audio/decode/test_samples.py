"""Audio in memory: one meaning in every call. S: samples. C: channels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import tiny_model

import emotion2vec
from emotion2vec.audio.samples import load_audio
from emotion2vec.errors import AudioError
from emotion2vec.model.encoder import Emotion2vec

RATE = 16_000


def clips(count: int, length: int = 8_000) -> list[np.ndarray]:
    return [np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32) for seed in range(count)]


@pytest.fixture(scope="module")
def model() -> Emotion2vec:
    return tiny_model()


@pytest.fixture(params=["function", "method"])
def extract(request: pytest.FixtureRequest, model: Emotion2vec) -> Callable[..., Any]:
    """Both of the library's calls."""
    if request.param == "method":
        return model.extract_features
    return lambda *source, **options: emotion2vec.extract_features(*source, model=model, **options)


def test_a_list_of_equal_clips_is_no_mixture(extract: Callable[..., Any]) -> None:
    pair = clips(2)
    for source in (pair, tuple(pair), [torch.from_numpy(clip) for clip in pair]):
        found = extract(source, RATE)
        assert len(found) == 2
        for one, clip in zip(found, pair, strict=True):
            np.testing.assert_allclose(one.frames, extract(clip, RATE).frames, atol=1e-5)


def test_two_rows_are_two_channels(extract: Callable[..., Any]) -> None:
    pair = clips(2)
    found = extract(np.stack(pair), RATE)
    np.testing.assert_allclose(found.frames, extract((pair[0] + pair[1]) / 2, RATE).frames, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: np.stack(clips(20)), "list(x)"),
        (lambda: torch.from_numpy(np.stack(clips(9))), "list(x)"),
        (lambda: np.stack(clips(3))[:, None], "list(x)"),
        (lambda: np.stack(clips(2)).T, "x.T"),
        (lambda: clips(1)[0].tolist(), "numpy.asarray(x)"),
        (lambda: [clip.tolist() for clip in clips(2)], "numpy.asarray"),
        (lambda: (clips(1)[0], RATE), "f(x, 16000)"),
        (lambda: (RATE, clips(1)[0]), "f(x, 16000)"),
        (lambda: np.array([clips(1)[0], clips(1, 900)[0]], dtype=object), "list(x)"),
        (lambda: {"samples": clips(1)[0]}, "'array' and 'sampling_rate'"),
        (lambda: np.zeros((0, 800), np.float32), "(channels, samples)"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(
    extract: Callable[..., Any], make: Callable[[], Any], hint: str
) -> None:
    with pytest.raises(AudioError, match=re.escape(hint)):
        extract(make(), RATE)


def test_the_rate_has_two_names(extract: Callable[..., Any]) -> None:
    (clip,) = clips(1)
    expected = extract(clip, RATE).frames
    np.testing.assert_array_equal(extract(clip, sampling_rate=RATE).frames, expected)
    np.testing.assert_array_equal(extract(clip, RATE, sampling_rate=RATE).frames, expected)
    with pytest.raises(AudioError, match="sample_rate is 16000 and sampling_rate 8000"):
        extract(clip, RATE, sampling_rate=8_000)


def test_a_row_of_a_hugging_face_dataset_is_a_clip(extract: Callable[..., Any], tmp_path: Path) -> None:
    (clip,) = clips(1)
    soundfile.write(tmp_path / "a.wav", clip, RATE, subtype="FLOAT")
    expected = extract(clip, RATE).frames
    rows = [
        {"array": clip, "sampling_rate": RATE, "path": None},
        {"array": clip.tolist(), "sampling_rate": RATE},
        {"bytes": (tmp_path / "a.wav").read_bytes(), "path": None},
        {"bytes": None, "path": str(tmp_path / "a.wav")},
    ]
    for row in rows:
        np.testing.assert_allclose(extract(row).frames, expected, atol=1e-5)
    assert len(extract(rows)) == 4
    with pytest.raises(AudioError, match="expected one of them"):
        extract(rows[0], 8_000)


def test_one_clip_is_expected_where_one_is_loaded() -> None:
    with pytest.raises(AudioError, match="a list of 2 clips, expected one"):
        load_audio(clips(2), RATE)  # type: ignore[arg-type]


def test_a_list_is_predicted_clip_by_clip() -> None:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_model().config, labels=["happy", "sad"])
    pair = clips(2)
    found = model.predict(pair, RATE)
    assert found == [model.predict(clip, sampling_rate=RATE) for clip in pair] or all(
        one[label] == pytest.approx(model.predict(clip, RATE)[label], abs=1e-6)
        for one, clip in zip(found, pair, strict=True)
        for label in one
    )
