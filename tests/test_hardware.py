"""What the machine is fast at, and that all processes agree on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from emotion2vec import hardware
from emotion2vec.errors import ConfigError
from emotion2vec.hardware import (
    best_precision,
    bf16_gain,
    fastest,
    has_onednn,
    multiplies,
    remembered,
    time_candidates,
)
from emotion2vec.model.cpu import packing, products
from emotion2vec.processors import processor

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing has been measured."""
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(tmp_path))
    monkeypatch.delenv("EMOTION2VEC_PRODUCTS", raising=False)
    monkeypatch.setattr(hardware, "_chosen", {})
    return tmp_path


def working(loops: int, result: float = 1.0) -> Callable[[], torch.Tensor]:
    """Work that takes as long as it is told."""

    def work() -> torch.Tensor:
        x = torch.full((64, 64), 1 / 64)
        for _ in range(loops):
            x = x @ x
        return x * 64 * result

    return work


def test_the_faster_way_is_chosen_and_remembered(nothing_known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"plain": working(400), "other": working(20), "wrong": working(1, result=2.0)}
    assert fastest("a", lambda: [ways], margin=1.1) == "other"
    (file,) = nothing_known.rglob("*.json")
    assert json.loads(file.read_text()) == {"name": "a", "found": "other"}
    monkeypatch.setattr(hardware, "_chosen", {})  # another process
    assert fastest("a", lambda: pytest.fail("measured twice"), margin=1.1) == "other"


def test_plain_stays_unless_something_is_faster_by_a_margin() -> None:
    assert fastest("a", lambda: [{"plain": working(100), "same": working(100)}], margin=1.5) == "plain"
    assert fastest("b", lambda: [{"plain": working(20), "slow": working(400)}], margin=1.1) == "plain"


def test_a_way_must_be_faster_on_every_sample() -> None:
    quick, even = {"plain": working(400), "other": working(20)}, {"plain": working(100), "other": working(100)}
    assert fastest("a", lambda: [quick, quick], margin=1.5) == "other"
    assert fastest("b", lambda: [quick, even], margin=1.5) == "plain"
    lacking = {"plain": working(400), "third": working(20)}
    assert fastest("c", lambda: [quick, lacking], margin=1.5) == "plain"


def test_a_way_that_fails_or_computes_something_else_is_left_out() -> None:
    def missing() -> torch.Tensor:
        return torch.ops.mkldnn.no_such_operator(torch.ones(1))

    def broken() -> torch.Tensor:
        raise RuntimeError("could not create a primitive")

    ways = {"plain": working(50), "missing": missing, "broken": broken, "wrong": working(1, 1.01)}
    assert list(time_candidates(ways)) == ["plain"]
    with pytest.raises(RuntimeError, match="primitive"):
        time_candidates({"plain": broken})


def test_a_hopeless_way_is_timed_once() -> None:
    runs: list[str] = []

    def slow() -> torch.Tensor:
        runs.append("slow")
        time.sleep(0.01)
        return working(400)()

    time_candidates({"plain": working(1), "slow": slow})
    assert len(runs) == 2  # once for its numbers, once for its time


def test_what_takes_long_is_not_timed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "PLENTY", 0.001)
    runs: list[int] = []

    def slow() -> torch.Tensor:
        runs.append(0)
        return working(400)()

    time_candidates({"plain": slow})
    assert len(runs) == 3  # once for its numbers, and two rounds


def test_ways_of_emulated_bfloat16_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "bf16_gain", lambda device: 0.2)
    for module in (products, packing):
        monkeypatch.setattr(module, "fastest", lambda *_, **__: pytest.fail("measured"))
    assert set(products.choices(torch.bfloat16).values()) == {"plain"}
    assert packing.choose_layout(torch.bfloat16, 256, 768, 768) == "plain"


def test_a_damaged_or_unwritable_cache_costs_a_measurement_and_nothing_else(
    nothing_known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remembered("a", lambda: "first") == "first"
    (file,) = nothing_known.rglob("*.json")
    for content in ("", "[]", '{"name": "another", "found": 1}'):
        file.write_text(content)
        monkeypatch.setattr(hardware, "_chosen", {})
        assert remembered("a", lambda: "again") == "again"
        assert json.loads(file.read_text())["found"] == "again"
    (nothing_known / "file").write_text("")
    monkeypatch.setenv("EMOTION2VEC_CACHE", str(nothing_known / "file"))
    monkeypatch.setattr(hardware, "_chosen", {})
    assert remembered("a", lambda: "not kept") == "not kept"


def test_processes_that_measure_at_once_agree(nothing_known: Path) -> None:
    """Each finds another answer; all take the first that was written."""
    script = """
import os, time
from emotion2vec.hardware import remembered
def find():
    time.sleep(1.0)
    return os.getpid()
print(remembered("a", find))
"""
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
        for _ in range(3)
    ]
    answers = {process.communicate()[0] for process in started}
    assert len(answers) == 1 and answers != {""}
    assert not list(nothing_known.rglob("*.tmp"))


def test_measuring_is_not_seen_by_the_caller() -> None:
    state = torch.get_rng_state()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
        products.choose("forward", torch.float32, 10, 10, 10)
        products.onednn_multiplies(torch.float32)
        bf16_gain(CPU)
    assert counter.get_total_flops() == 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("gain", "expected"), [(0.0, "fp32"), (1.29, "fp32"), (1.31, "bf16")])
def test_bfloat16_must_pay(gain: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "bf16_gain", lambda device: gain)
    assert best_precision(CPU) == expected


def test_gain_of_bfloat16_is_a_ratio_of_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hardware, "best_rate", lambda device, dtype, size: {torch.float32: 2.0, torch.bfloat16: 5.0}[dtype]
    )
    assert bf16_gain(CPU) == 2.5


def test_a_device_without_bfloat16_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "multiplies", lambda dtype, device: False)
    assert bf16_gain(CPU) == 0.0
    assert best_precision(CPU) == "fp32"


def test_what_a_device_multiplies() -> None:
    assert multiplies(torch.float32, CPU)
    assert not multiplies(torch.bool, CPU)


def test_the_override_is_obeyed_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "fastest", lambda *_, **__: pytest.fail("measured"))
    monkeypatch.setattr(packing, "fastest", lambda *_, **__: pytest.fail("measured"))
    for name in ("plain", "onednn"):
        monkeypatch.setenv("EMOTION2VEC_PRODUCTS", name)
        expected = name if has_onednn() else "plain"
        assert set(products.choices(torch.float32).values()) == {expected}
        assert packing.choose_layout(torch.float32, 100, 768, 768) == expected
    monkeypatch.setenv("EMOTION2VEC_PRODUCTS", "mkl")
    with pytest.raises(ConfigError, match="EMOTION2VEC_PRODUCTS is 'mkl', expected auto, plain, onednn"):
        products.choose("forward", torch.float32, 1, 1, 1)


def test_without_onednn_everything_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (products, packing):
        monkeypatch.setattr(module, "has_onednn", lambda: False)
    assert set(products.choices(torch.float32).values()) == {"plain"}
    assert packing.choose_layout(torch.float32, 100, 768, 768) == "plain"
    assert packing.int8_product_gain() == 0.0


def test_every_choice_is_one_of_the_ways() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for name, way in products.choices(dtype).items():
            assert way in products.WAYS[name.partition(",")[0]]
        assert packing.choose_layout(dtype, 4096, 1024, 512) in packing.LAYOUTS


def test_the_processor_has_a_name() -> None:
    assert processor()
