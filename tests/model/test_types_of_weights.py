"""Models whose weights were cast, as PyTorch users do: `model.half()`, `model.to(torch.bfloat16)`, `model.double()`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from extraction.helpers import speech

import emotion2vec
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract

CLIP = speech(24_000)
# Shares of what a float32 model gives: mantissas of eight bits, of ten, and what float32 itself rounds.
TOLERANCES = {torch.bfloat16: 0.05, torch.float16: 0.01, torch.float64: 1e-4}


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", ["tiny", "compact"])
@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
def test_features_and_scores_are_those_of_float32(name: str, dtype: torch.dtype) -> None:
    model, cast = emotion2vec.load_model(name), emotion2vec.load_model(name).to(dtype)
    expected = model.extract_features(CLIP, 16_000).frames
    found = cast.extract_features(CLIP, 16_000).frames
    assert found.dtype == np.float32
    assert 0 < distance(found, expected) < TOLERANCES[dtype]
    assert cast(torch.from_numpy(CLIP)[None]).frames.dtype == dtype
    if model.head is not None:
        scores = cast.predict(CLIP, 16_000)
        assert all(abs(value - scores[name]) < TOLERANCES[dtype] for name, value in model.predict(CLIP, 16_000).items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_jobs_compute_in_the_type_of_the_weights(
    dtype: torch.dtype, write_audio: Callable[..., Path], tmp_path: Path
) -> None:
    model, cast = emotion2vec.load_model("compact"), emotion2vec.load_model("compact").to(dtype)
    expected = model.extract_features(CLIP, 16_000).frames
    assert distance(emotion2vec.extract_features(CLIP, 16_000, model=cast).frames, expected) < TOLERANCES[dtype]
    report = extract(write_audio("a.wav"), model=cast, output=tmp_path / "out")
    assert report.precision == {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    expected = model.extract_features(tmp_path / "a.wav").frames
    assert distance(np.load(tmp_path / "out" / "a.npy"), expected) < TOLERANCES[dtype]
    frame = emotion2vec.predict(CLIP, 16_000, model=cast)
    scores = model.predict(CLIP, 16_000)
    assert frame["score:anger"].item() == pytest.approx(scores["anger"], abs=TOLERANCES[dtype])


def test_casting_back_is_only_the_rounding_of_weights() -> None:
    model, cast = emotion2vec.load_model("compact"), emotion2vec.load_model("compact").half().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    expected = model.extract_features(CLIP, 16_000).frames
    np.testing.assert_array_equal(cast.extract_features(CLIP, 16_000).frames, expected)


@pytest.mark.parametrize("asked", [{"precision": "int8"}, {"precision": "fp16"}, {"backend": "onnx"}])
def test_another_precision_than_that_of_the_weights_is_refused(asked: dict[str, str]) -> None:
    model = emotion2vec.load_model("tiny").to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"weights are torch.bfloat16 and .* is asked for, .*model.float\(\)"):
        emotion2vec.extract_features(CLIP, 16_000, model=model, **asked)
    with pytest.raises(ConfigError, match=r"weights are torch.float64 and precision fp32 is asked for"):
        emotion2vec.extract_features(CLIP, 16_000, model=model.double())


def test_an_operator_that_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> torch.Tensor:
        raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")

    model = emotion2vec.load_model("compact").half()
    monkeypatch.setattr(torch.nn.Conv1d, "forward", missing)
    expected = r"weights are torch.float16, in which cpu lacks an operator \(.*conv2d.*\); expected model.float\(\)"
    for call in (
        lambda: model.extract_features(CLIP, 16_000),
        lambda: emotion2vec.extract_features(CLIP, 16_000, model=model),
    ):
        with pytest.raises(ConfigError, match=expected):
            call()
    with pytest.raises(RuntimeError, match="slow_conv2d"):  # a float32 model has no such excuse
        emotion2vec.load_model("compact").extract_features(CLIP, 16_000)
