"""What this machine multiplies fast, found by measuring: which library for a product, and which dtype.

Nothing here goes by a vendor's name. A choice is measured when it is first needed, mostly in milliseconds, and kept on
disk for the processor, the version of PyTorch and the number of threads, so that every later process chooses the same.
`EMOTION2VEC_PRODUCTS` overrides the choice of library, `EMOTION2VEC_CACHE` says where choices are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion2vec.devices import HOST, is_host, synchronize
from emotion2vec.errors import ConfigError
from emotion2vec.files import complete_file, complete_first
from emotion2vec.processors import instruction_sets, processor

logger = logging.getLogger(__name__)

PRODUCTS_VARIABLE = "EMOTION2VEC_PRODUCTS"
"""Environment variable that overrides which library multiplies on a CPU."""
PRODUCTS = ("auto", "plain", "onednn")
"""Its values: what was measured to be faster, PyTorch's own choice everywhere, or oneDNN wherever it can."""
CACHE_VARIABLE = "EMOTION2VEC_CACHE"
"""Environment variable with the folder of what may be forgotten."""

BF16_GAIN = 1.3
"""How many times faster than products in float32 those in bfloat16 must be for `auto` to choose them."""
ROUNDS = (5, 25)
"""Least and most times that each candidate of a choice runs; the best counts, since other work only slows one down."""
ENOUGH = 0.03
"""Seconds of work of a candidate after which the least number of rounds suffices."""
PLENTY = 0.3
"""Seconds of work after which a candidate is not timed again, as two rounds tell enough of what takes so long."""
HOPELESS = 4.0
"""A candidate that takes so many times the best one's time in its first round is not timed again."""

_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "DNNL_MAX_CPU_ISA")

Candidates = Mapping[str, Callable[[], Tensor]]


def products_choice() -> str:
    """Which library the user wants, of `PRODUCTS`.

    Raises:
        ConfigError: the environment variable holds something else.
    """
    value = os.environ.get(PRODUCTS_VARIABLE) or "auto"
    if value not in PRODUCTS:
        raise ConfigError(f"{PRODUCTS_VARIABLE} is {value!r}, expected {', '.join(PRODUCTS)}")
    return value


def has_onednn() -> bool:
    """Whether this build of PyTorch has oneDNN and the operators that call it directly."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


# Choices


_chosen: dict[tuple[int, str], Any] = {}


def remembered(name: str, find: Callable[[], Any]) -> Any:
    """What `find` found, in this process or another, on this kind of machine with as many threads.

    `find` runs in a thread of its own, without the caller's autocast, inference mode and counters of operations. Of
    processes that look for the same at once, all take what the first one found.

    Args:
        name: of the choice; what is found may depend on nothing else but the machine.
        find: returns anything that JSON can hold.
    """
    found = known(name)
    if found is None:
        with ThreadPoolExecutor(1) as executor:
            found = executor.submit(find).result()
        logger.debug("measured %s: %s", name, found)
        file = _choice_file(name)
        _write_first(file, {"name": name, "found": found})
        found = _chosen[torch.get_num_threads(), name] = _read(file, name) or found
    return found


def known(name: str) -> Any:
    """What was found before under a name, see `remembered`; None where nothing was."""
    key = (torch.get_num_threads(), name)
    if key not in _chosen and (found := _read(_choice_file(name), name)) is not None:
        _chosen[key] = found
    return _chosen.get(key)


def cache_folder() -> Path:
    """Where what may be forgotten is kept: `EMOTION2VEC_CACHE`, else the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "emotion2vec"


def _choice_file(name: str) -> Path:
    return _choices_folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def _choices_folder() -> Path:
    limits = [f"{name}={os.environ.get(name, '')}" for name in _LIMITS]
    facts = [processor(), platform.machine(), *instruction_sets(), torch.__version__, *limits]
    facts.append(str(torch.get_num_threads()))
    return cache_folder() / "hardware" / hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]


def _read(file: Path, name: str) -> Any:
    """What was found before, None where there is nothing that can be used."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return content["found"] if content["name"] == name else None
    return None


def _write_first(file: Path, content: dict[str, Any]) -> None:
    """Write a file unless one that can be used is there; where it cannot be written, the next process measures."""
    with suppress(OSError):
        damaged = file.exists() and _read(file, content["name"]) is None
        with complete_file(file) if damaged else complete_first(file) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")


# Measuring


def time_candidates(candidates: Candidates, device: torch.device = HOST, tolerance: float = 1e-3) -> dict:
    """Seconds that each of several ways to compute the same takes, the best of some rounds in turn.

    Args:
        candidates: ways by name; the first one is known to be right.
        device: where they compute.
        tolerance: largest difference to the first one's result, relative to its norm. A way that fails, or whose
            numbers are others, is left out: what an operator promises does not hold on every processor.
    """
    best: dict[str, float] = {}
    expected: Tensor | None = None
    for name, way in candidates.items():
        try:
            found = way().cpu().double()
        except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
            if expected is None:
                raise
            logger.debug("%s cannot be used here: %s", name, error)
            continue
        expected = found if expected is None else expected
        if found.shape == expected.shape and (found - expected).norm() <= tolerance * expected.norm():
            best[name] = float("inf")
        else:
            logger.debug("%s computes something else here", name)
    spent = dict.fromkeys(best, 0.0)
    for number in range(ROUNDS[1]):
        fastest = min(best.values())
        due = [name for name in best if number == 0 or best[name] <= HOPELESS * fastest]
        due = [name for name in due if number < 2 or spent[name] < PLENTY]
        if not due or (number >= ROUNDS[0] and all(spent[name] > ENOUGH for name in due)):
            break
        for name in due:
            seconds = _seconds(candidates[name], device)
            best[name], spent[name] = min(best[name], seconds), spent[name] + seconds
    return best


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time once; a single thread's own time is not disturbed by what else runs."""
    alone = torch.get_num_threads() == 1 and is_host(device)
    clock = time.thread_time if alone else time.perf_counter
    started = clock()
    work()
    synchronize(device)
    return clock() - started


def fastest(name: str, samples: Callable[[], Iterable[Candidates]], *, margin: float, tolerance: float = 1e-3) -> str:
    """Which of several ways to compute the same is the fastest here; the first, plain one unless by a margin.

    Args:
        name: of the choice, see `remembered`.
        samples: makes the same ways for operands of several sizes; runs only when nothing is known yet.
        margin: how many times faster than the plain one a way must be on every sample to be chosen.
        tolerance: see `time_candidates`.
    """

    def find() -> str:
        least: dict[str, float] = {}
        with torch.no_grad():
            for candidates in samples():
                seconds = time_candidates(candidates, tolerance=tolerance)
                plain = next(iter(seconds))
                ratios = {way: seconds[plain] / took for way, took in seconds.items()}
                least = {
                    way: min(ratio, least.get(way, ratio)) for way, ratio in ratios.items() if way in (least or ratios)
                }
        best = max(least, key=least.__getitem__)
        return best if least[best] >= margin else plain

    return str(remembered(name, find))


# Dtypes


def multiplies(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device has products in a dtype at all, natively or not."""
    try:
        ones = torch.ones(32, 32, dtype=dtype, device=device)
        return bool((ones @ ones)[0, 0].item() == 32)
    except (RuntimeError, NotImplementedError, TypeError):
        return False


def bf16_gain(device: torch.device) -> float:
    """How many times faster products in bfloat16 are than in float32; 0 where there are none."""

    def find() -> float:
        if not multiplies(torch.bfloat16, device):
            return 0.0
        gain = 0.0
        with torch.no_grad():
            for size in (256, 512) if is_host(device) else (4096,):
                single, half = (best_rate(device, dtype, size) for dtype in (torch.float32, torch.bfloat16))
                gain = half / single
                if gain < 1:  # emulated, and slow enough to be asked once
                    break
        return round(gain, 3)

    return float(remembered(f"bf16 gain on {device.type}", find))


def best_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Operations per second of one device's square products in a dtype, in the fastest way that is known.

    Args:
        device: where to multiply.
        dtype: what to multiply.
        size: rows and columns.
    """
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    ways: dict[str, Callable[[], Tensor]] = {"plain": lambda: a @ b}
    if is_host(device) and has_onednn():
        columns = b.t().contiguous()
        ways["transposed"] = lambda: a @ columns.t()
        ways["onednn"] = lambda: torch.ops.mkldnn._linear_pointwise(a, columns, None, "none", [], "")
    seconds = time_candidates(ways, device, tolerance=1e-3 if dtype == torch.float32 else 5e-2)
    return 2.0 * size**3 / min(seconds.values())


def best_precision(device: torch.device) -> str:
    """`bf16` where products in it pay, else `fp16` on a CUDA device and `fp32` elsewhere.

    CUDA devices are asked and not timed: those that emulate bfloat16 say so.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if bf16_gain(device) >= BF16_GAIN else "fp32"


def describe_precision(precision: str, device: torch.device) -> str:
    """The reason for a precision that was chosen, in words."""
    if device.type == "cuda":
        return f"{precision} is what this GPU is best at"
    gain = bf16_gain(device)
    measured = f"were measured at {gain:.2f} times the speed of those in float32" if gain else "are absent here"
    return f"products in bfloat16 {measured}, and are used from {BF16_GAIN:g} times on"
