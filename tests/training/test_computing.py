"""What a run computes with is said, kept, and compared when it goes on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from training.helpers import overrides

from emotion2vec import hardware
from emotion2vec.errors import ConfigError
from emotion2vec.hardware import has_onednn
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.processors import processor
from emotion2vec.training import strategy
from emotion2vec.training.instruments import Instruments
from emotion2vec.training.strategy import build_fabric, resolve_precision


def run(speech: Path, folder: Path, updates: int, *more: str) -> list[str]:
    said: list[str] = []
    pretrain(load_config(None, overrides(speech, folder, f"optim.max_updates={updates}", *more)), said.append)
    return said


@pytest.mark.skipif(not has_onednn(), reason="this build of PyTorch has no oneDNN")
def test_other_libraries_at_a_resume_are_said_once(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOTION2VEC_PRODUCTS", "plain")
    first = run(speech, tmp_path, 2, "run.precision=fp32")
    assert any(line.startswith(f"computing in fp32 on {processor()}") for line in first)
    facts = json.loads((tmp_path / "computing.json").read_text())
    assert facts["precision"] == "fp32" and set(facts["products"].values()) == {"plain"}
    assert not any("otherwise" in line for line in run(speech, tmp_path, 2, "run.precision=fp32"))
    monkeypatch.setenv("EMOTION2VEC_PRODUCTS", "onednn")
    (line,) = [line for line in run(speech, tmp_path, 2, "run.precision=fp32") if "otherwise" in line]
    assert "forward, wide, tall was plain and is onednn" in line
    assert not any("otherwise" in line for line in run(speech, tmp_path, 2, "run.precision=fp32"))


@pytest.mark.parametrize(("gain", "expected"), [(0.5, "32-true"), (1.5, "bf16-mixed")])
def test_auto_is_chosen_by_measurement_and_the_reason_is_said(
    gain: float, expected: str, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "bf16_gain", lambda device: gain)
    config = load_config(None, overrides(speech, tmp_path, "run.precision=auto"))
    assert build_fabric(config.run).strategy.precision.precision == expected
    said = run(speech, tmp_path, 2, "run.precision=auto")
    reason = f"products in bfloat16 were measured at {gain:.2f} times the speed of those in float32"
    assert any(reason in line for line in said)


def test_bf16_that_is_emulated_is_warned_of(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "bf16_gain", lambda device: 0.1)
    said = run(speech, tmp_path, 2, "run.precision=bf16")
    (line,) = [line for line in said if line.startswith("computing in bf16")]
    assert line.endswith("auto or fp32 is faster here")


def test_precisions_that_a_device_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="fp16, whose loss scaling needs CUDA"):
        resolve_precision("fp16", torch.device("cpu"))
    monkeypatch.setattr(strategy, "multiplies", lambda dtype, device: False)
    with pytest.raises(ConfigError, match=r"run\.precision is bf16, which cpu cannot multiply; expected auto or fp32"):
        resolve_precision("bf16", torch.device("cpu"))


def test_a_utilization_above_one_measures_the_peak_again(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(None, overrides(speech, tmp_path))
    instruments, peaks = Instruments(build_fabric(config.run)), [100.0, 500.0]
    monkeypatch.setattr(instruments, "_measure_peak", lambda: peaks.pop(0))
    assert instruments.utilization(50.0, 1.0) == 0.5
    with caplog.at_level(logging.WARNING):
        assert instruments.utilization(1000.0, 1.0) == 2.0
        assert instruments.utilization(1000.0, 1.0) == 2.0
    assert caplog.text.count("mfu is 2.00: the peak of products") == 1
