"""What a job computes in: chosen by measurement, refused or replaced aloud where the hardware does not serve."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import tiny_config

from emotion2vec import hardware
from emotion2vec.errors import ConfigError
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode import ready
from emotion2vec.extraction.encode.ready import choose_precision, ready_model
from emotion2vec.model.cpu import packing
from emotion2vec.model.cpu.packing import Int8Weight, int8_product_gain
from emotion2vec.model.encoder import Emotion2vec


@pytest.fixture(scope="module")
def model() -> Emotion2vec:
    torch.manual_seed(0)
    return Emotion2vec(tiny_config().model).eval()


def gains(monkeypatch: pytest.MonkeyPatch, *, products: float, network: float, bf16: float = 0.5) -> None:
    """Pretend that the processor was measured so."""
    monkeypatch.setattr(hardware, "bf16_gain", lambda device: bf16)
    monkeypatch.setattr(ready, "int8_product_gain", lambda: products)
    monkeypatch.setattr(ready, "remembered", lambda name, find: network)


@pytest.mark.parametrize(("gain", "expected"), [(0.2, "fp32"), (2.0, "bf16")])
def test_auto_is_what_was_measured(
    model: Emotion2vec, gain: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains(monkeypatch, products=9.0, network=9.0, bf16=gain)
    assert choose_precision("auto", model) == expected


@pytest.mark.parametrize(
    ("products", "network", "bf16", "expected", "said"),
    [
        (3.0, 1.4, 0.5, "int8", ""),
        (3.0, 1.2, 0.5, "fp32", "1.20 times as fast as fp32 here, less than the 1.3"),
        (3.0, 1.2, 2.0, "bf16", "1.20 times as fast as bf16 here"),
        (0.0, 9.0, 0.5, "fp32", "does not multiply exactly: computing in fp32"),
    ],
)
def test_int8_is_taken_where_it_is_right_and_pays(
    model: Emotion2vec,
    products: float,
    network: float,
    bf16: float,
    expected: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gains(monkeypatch, products=products, network=network, bf16=bf16)
    with caplog.at_level(logging.WARNING):
        assert choose_precision("int8", model) == expected
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.skipif(not int8_product_gain(), reason="int8 products are not exact on this processor")
def test_sums_that_overflow_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors whose oneDNN adds pairs of products in 16 bits."""

    class Saturated(Int8Weight):
        def __call__(self, x: torch.Tensor, **options: object) -> torch.Tensor:
            return super().__call__(x).clamp(max=97_920.0)

    assert packing._measure_int8() > 0
    monkeypatch.setattr(packing, "Int8Weight", Saturated)
    assert packing._measure_int8() == 0.0


def test_emulated_bfloat16_is_said_to_be_slow(
    model: Emotion2vec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gains(monkeypatch, products=0.0, network=0.0)
    assert choose_precision("bf16", model) == "bf16"
    assert "bf16, which is slower than fp32 here: products in bfloat16 were measured at 0.50 times" in caplog.text


def test_what_a_device_cannot_multiply_is_refused_in_a_sentence(
    model: Emotion2vec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "multiplies", lambda dtype, device: False)
    with pytest.raises(ConfigError, match="precision is bf16, which cpu cannot multiply; expected auto or fp32"):
        choose_precision("bf16", model)
    elsewhere = Emotion2vec(tiny_config().model).to("meta")
    with pytest.raises(ConfigError, match="precision is int8, which is for CPUs, and device is meta"):
        choose_precision("int8", elsewhere)


@pytest.mark.skipif(not int8_product_gain(), reason="int8 products are not exact on this processor")
def test_features_in_int8_are_near_and_say_so(
    model: Emotion2vec, sample_speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains(monkeypatch, products=3.0, network=2.0)
    clips = sorted(sample_speech.glob("*.opus"))[:3]
    with ready_model(model, None, "int8") as (ready, precision, _):
        assert precision == "int8" and isinstance(ready.backbone.blocks[0].fc2._packed, Int8Weight)
    for name in ("fp32", "int8"):
        assert extract(clips, model=model, output=tmp_path / name, precision=name).precision == name
    for clip in clips:
        exact, rounded = (np.load(tmp_path / name / f"{clip.stem}.npy") for name in ("fp32", "int8"))
        cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
        assert cosine.mean() > 0.99 and not np.array_equal(exact, rounded)
