"""What computes a network on a CPU: PyTorch, or onnxruntime where that was measured to be faster or is asked for.

R: rows. I: input channels. O: output channels.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.devices import is_host
from emotion2vec.errors import ConfigError
from emotion2vec.exporting.network import exportable
from emotion2vec.exporting.onnx import missing_packages
from emotion2vec.extraction.encode.graphs import GraphNetwork, build_graph, find_graph, open_session
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.hardware import CACHE_VARIABLE, cache_folder, known, remembered, time_candidates
from emotion2vec.model.cpu.packing import layout_candidates, packed
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.fingerprint import dimensions_hash
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.version import library_version

logger = logging.getLogger(__name__)

TRIAL_SECONDS = 3
"""Length of the clip that networks are timed on, in s."""
PRODUCT_GAIN = 1.15
"""How many times faster onnxruntime's products must be for a graph to be considered."""
GRAPH_GAIN = 1.2
"""How many times faster on the trial clip a graph must be to be used: on long windows it gains less, since it holds
attention's scores in memory."""
OPEN_SECONDS = 60.0
"""Least audio of a job, in s, for which a graph that was built before is opened; clips of unknown length count 1 s."""
BUILD_SECONDS = 60.0
"""What building a graph of the base model takes on one slow core, in s: a job must be shortened by that."""
PRODUCT_ROWS = 160
"""R of the product that is timed: the frames of the trial clip."""


def choose_graph(backend: str, model: SpeechEncoder, workload: Workload) -> GraphNetwork | None:
    """What computes in place of a model in float32; None for PyTorch.

    Args:
        backend: `torch`, `onnx`, or `auto` for the one that was measured to be faster here.
        model: in eval mode, not packed.
        workload: whether a graph serves it, and how long it is.

    Raises:
        ConfigError: `onnx` is asked for, and the model is not on a CPU or its graph cannot be kept.
        CheckpointError: the same, and its graph does not compute what the model computes.
    """
    if backend == "onnx":
        return _asked_for(exportable(model))
    is_short = workload.seconds + workload.unknown < OPEN_SECONDS  # looked at first: it is often so, and costs nothing
    if backend == "torch" or is_short or not workload.last_block or not is_host(model.device) or missing_packages():
        return None
    if not isinstance(model, Emotion2vec):
        return None
    try:
        path = _if_it_pays(model, workload)
    except Exception as error:  # nobody asked for a graph: whatever prevents it must not prevent the job
        logger.warning("onnxruntime cannot be used in place of PyTorch: %s", error)
        return None
    return None if path is None else GraphNetwork(path)


def _asked_for(model: Emotion2vec) -> GraphNetwork:
    if not is_host(model.device):
        raise ConfigError(f"backend is onnx, which computes on the CPU, and device is {model.device}; expected cpu")
    try:
        return GraphNetwork(find_graph(model) or build_graph(model))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"{cache_folder()}: the graph for backend onnx cannot be kept there: {reason}; {CACHE_VARIABLE} may name "
            "another folder"
        ) from error


def _if_it_pays(model: Emotion2vec, workload: Workload) -> Path | None:
    """The graph of a model where it is faster than PyTorch; built only where the job is long enough for that."""
    products = product_gain(model.config.width, model.config.ffn_width)
    if products < PRODUCT_GAIN:
        return None
    versions = f"onnxruntime {library_version('onnxruntime')}"
    name = f"gain of {versions}, network {dimensions_hash(model)}"
    if (gain := known(name)) is not None and gain < GRAPH_GAIN:
        return None
    path = find_graph(model)
    if path is None:
        if workload.seconds * _cost(model) * (1 - 1 / (gain or products)) < BUILD_SECONDS:
            return None
        path = build_graph(model)
    gain = float(remembered(name, partial(_measure_networks, model, path)))
    logger.info("%s was measured at %.2f times the speed of PyTorch here", versions, gain)
    return path if gain >= GRAPH_GAIN else None


def product_gain(inputs: int, outputs: int) -> float:
    """How many times faster onnxruntime multiplies (R, I) by (O, I) than PyTorch in its best layout; 0 if wrong."""
    version = library_version("onnxruntime")
    name = f"gain of onnxruntime {version} for products of {inputs} and {outputs} channels"
    return float(remembered(name, partial(_measure_products, inputs, outputs)))


def _measure_products(inputs: int, outputs: int) -> float:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator)
    x = torch.randn(PRODUCT_ROWS, inputs, generator=generator)
    session = open_session(_one_product(weight), torch.get_num_threads())
    ways = layout_candidates(x, weight)
    with torch.no_grad():
        seconds = time_candidates(
            {**ways, "onnxruntime": lambda: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])}, tolerance=1e-4
        )
    best = min(value for name, value in seconds.items() if name != "onnxruntime")
    return round(best / seconds["onnxruntime"], 3) if "onnxruntime" in seconds else 0.0


def _one_product(weight: Tensor) -> bytes:
    """A graph of one product of `x` (R, I) by a weight (O, I)."""
    from onnx import TensorProto, helper, numpy_helper

    outputs, inputs = weight.shape
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    shapes: dict[str, list[str | int | None]] = {"x": ["rows", inputs], "y": ["rows", outputs]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    held = numpy_helper.from_array(weight.t().contiguous().numpy(), "weight")
    graph = helper.make_graph([node], "product", [x], [y], initializer=[held])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def _cost(model: Emotion2vec) -> float:
    """Seconds that PyTorch computes for a second of audio."""

    @torch.inference_mode()
    def find() -> float:
        waveform = trial_clip()
        with packed(model, torch.float32):
            return time_candidates({"network": lambda: model(waveform).frames})["network"] / TRIAL_SECONDS

    return float(remembered(f"seconds of computing for a second of audio, network {dimensions_hash(model)}", find))


@torch.inference_mode()
def _measure_networks(model: Emotion2vec, path: Path) -> float:
    """How many times faster than a network its graph is, for one clip; 0 if its numbers are others."""
    waveform, graph = trial_clip(), GraphNetwork(path)
    lengths = torch.tensor([waveform.shape[1]])
    ways: dict[str, Any] = {"torch": lambda: model(waveform).frames, "graph": lambda: graph(waveform, lengths)[0]}
    with packed(model, torch.float32):
        seconds = time_candidates(ways, tolerance=1e-4)
    return round(seconds["torch"] / seconds["graph"], 3) if "graph" in seconds else 0.0


def trial_clip() -> Tensor:
    """A clip of noise (1, S) that networks are timed on."""
    return torch.randn(1, TRIAL_SECONDS * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
