"""The model of a job: loaded or handed over, on its device, in eval mode for as long as the job lasts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch

from emotion2vec.audio.frames import MIN_SAMPLES
from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.opening import find
from emotion2vec.devices import HOST, choose_device, is_host, operators_of, warn_of_fallback
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.backends import choose_graph, trial_clip
from emotion2vec.extraction.encode.graphs import GraphNetwork
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.hardware import best_precision, describe_precision, multiplies, remembered, time_candidates
from emotion2vec.model.cpu.packing import INT8_GAIN, can_pack, int8_product_gain, pack, packed
from emotion2vec.model.fingerprint import dimensions_hash
from emotion2vec.model.frozen import frozen
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.processors import threads_within_processors

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.float32}
"""The type of what is computed by precision; of int8 that is what lies between the products of its blocks."""


NOTHING_KNOWN = Workload(last_block=False)
"""A job of which nothing is known: PyTorch serves every one."""


class Ready(NamedTuple):
    """What a job computes with: the model, the precision's name, and the graph that stands in for the model, if any."""

    model: SpeechEncoder
    precision: str
    graph: GraphNetwork | None


@contextmanager
def ready_model(
    model: str | Path | SpeechEncoder,
    device: str | None,
    precision: str = "fp32",
    *,
    backend: str = "torch",
    workload: Workload = NOTHING_KNOWN,
) -> Iterator[Ready]:
    """Load a model, or borrow one in eval mode, without touching its owner's.

    On a CPU its weights are packed, unless a graph computes in its place.

    Args:
        model: what `load_model` takes, or a model, which is moved if `device` is given.
        device: see `choose_device`; None leaves a model where it is.
        precision: `fp32`, `bf16`, `fp16`, `int8`, or `auto`; of a model whose weights are bfloat16 or float16 already,
            that is what is computed in.
        backend: `torch`, `onnx` (onnxruntime, which computes in fp32), or `auto` for the faster one.
        workload: what it is for; `auto` needs to know.

    Yields:
        The model, or a second face of it, the precision, and the graph.

    Raises:
        ConfigError: there is no such device, `model` is neither a path nor a model, or the device cannot compute in the
            type of its weights.
        CheckpointError: the model cannot be loaded.
    """
    check_model(model)
    if isinstance(model, str | Path):
        model = opened(model, str(choose_device(device)))
    elif device is not None:
        model.to(choose_device(device))
    owner, model = model, frozen(model)
    is_kept = any(owner is one for one in _opened.values())
    with threads_within_processors() if is_host(model.device) else nullcontext():
        if model.dtype != torch.float32:
            precision = _own_precision(model, precision, backend)
        else:
            precision = "fp32" if backend == "onnx" else _tried_precision(model, precision)
        if precision == "fp32" and (graph := choose_graph(backend, model, workload)) is not None:
            yield Ready(model, precision, graph)
            return
        dtype = torch.int8 if precision == "int8" else DTYPES[precision]
        if not can_pack(model.device, dtype):
            yield Ready(model, precision, None)
        elif is_kept:
            yield Ready(_packed_for_good(owner, dtype), precision, None)
        else:
            with packed(model, dtype):
                yield Ready(model, precision, None)


_opened: dict[Hashable, SpeechEncoder] = {}
"""The model that was loaded last."""

_packed: list[tuple[SpeechEncoder, torch.dtype, SpeechEncoder]] = []
"""That model, what its weights were packed for last, and the face of it that has them packed."""

_opening = threading.RLock()
"""Held while a model is loaded or packed, so that threads that ask for the same one have it done once."""


def opened(source: str | Path, device: str) -> SpeechEncoder:
    """Load a model; the one that was loaded last is taken again as long as its files are what they were.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    path = find(source)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, found.st_size, found.st_mtime_ns) for file in files if (found := file.stat())]
    key = (path.resolve(), device, tuple(facts))
    with _opening:
        if key not in _opened:
            _opened.clear()
            _packed.clear()
            _opened[key] = load_model(path, device=device)
        return _opened[key]


def _packed_for_good(model: SpeechEncoder, dtype: torch.dtype) -> SpeechEncoder:
    """A face of the model that was loaded last with its weights packed, which nobody else changes: packed once."""
    with _opening:
        for known, packed_for, face in _packed:
            if known is model and packed_for == dtype:
                return face
        face = frozen(model)
        pack(face, dtype)
        _packed[:] = [(model, dtype, face)]
        return face


def _tried_precision(model: SpeechEncoder, precision: str) -> str:
    """Resolve the precision; a model whose device lacks an operator that it needs moves to the CPU, with a warning.

    PyTorch can let single operators fall back, if it is told so before it is loaded; see `cli.shared.allow_fallback`.
    """
    resolved = choose_precision(precision, model)
    if is_host(model.device):
        return resolved
    dtype = DTYPES[resolved]
    waveform = torch.zeros(1, 2 * MIN_SAMPLES, device=model.device)
    try:
        with torch.inference_mode(), torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
            model(waveform)
    except NotImplementedError as error:
        warn_of_fallback(model.device, error)
        return choose_precision(precision, model.to(HOST))
    return resolved


def _own_precision(model: SpeechEncoder, precision: str, backend: str) -> str:
    """The precision of a model's weights, which are no float32.

    Raises:
        ConfigError: another is asked for, or the device lacks an operator in it.
    """
    own = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(model.dtype)
    asked = f"precision {precision}" if backend != "onnx" else "backend onnx"
    if own is None or backend == "onnx" or precision not in ("fp32", "auto", own):
        raise ConfigError(
            f"the model's weights are {model.dtype} and {asked} is asked for, expected float32: model.float()"
        )
    with operators_of(model.dtype, model.device), torch.inference_mode():
        model(torch.zeros(1, 2 * MIN_SAMPLES, device=model.device))
    return own


def check_model(model: object) -> None:
    """Check that a job was given a model.

    Raises:
        ConfigError: it is neither a path, nor a name, nor a model.
    """
    if not isinstance(model, str | Path | SpeechEncoder):
        raise ConfigError(f"model is a {type(model).__name__}, expected a path, a name or a SpeechEncoder")


def choose_precision(name: str, model: SpeechEncoder) -> str:
    """Resolve `auto` by what the model's device was measured to be fastest at, and refuse what it lacks.

    `int8` becomes the best floating-point precision where it is wrong or hardly faster, which is said.

    Raises:
        ConfigError: the device cannot compute in the precision.
    """
    device = model.device
    if name == "auto":
        return best_precision(device)
    if name == "int8" and not is_host(device):
        raise ConfigError(f"precision is int8, which is for CPUs, and device is {device}; expected auto, fp16 or bf16")
    if name in ("bf16", "fp16") and not multiplies(DTYPES[name], device):
        raise ConfigError(f"precision is {name}, which {device} cannot multiply; expected auto or fp32")
    if name == "bf16" and best_precision(device) == "fp32":
        logger.warning("precision is bf16, which is slower than fp32 here: %s", describe_precision("fp32", device))
    return _int8_if_it_pays(model) if name == "int8" else name


def _int8_if_it_pays(model: SpeechEncoder) -> str:
    other = best_precision(model.device)
    if not int8_product_gain():
        logger.warning("precision is int8, which this processor does not multiply exactly: computing in %s", other)
        return other
    name = f"gain of int8 over {other}, network {dimensions_hash(model)}"
    gain = float(remembered(name, lambda: _int8_gain(model, DTYPES[other])))
    if gain >= INT8_GAIN:
        return "int8"
    reason = f"{gain:.2f} times as fast as {other} here, less than the {INT8_GAIN:g} that its rounding should bring"
    logger.warning("precision is int8, but that is %s: computing in %s", reason, other)
    return other


@torch.inference_mode()
def _int8_gain(model: SpeechEncoder, dtype: torch.dtype) -> float:
    """How many times faster a network is in int8 than in floating point, for one clip."""
    waveform = trial_clip()

    def seconds(packed_dtype: torch.dtype, compute_dtype: torch.dtype) -> float:
        mixed = compute_dtype != torch.float32
        with packed(model, packed_dtype), torch.autocast(HOST.type, compute_dtype, enabled=mixed):
            return float(time_candidates({"network": lambda: model(waveform).frames})["network"])

    return round(seconds(dtype, dtype) / seconds(torch.int8, torch.float32), 3)
