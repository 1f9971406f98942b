"""A model's graph as ONNX: writing it, its weights in int8, and running it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion2vec.audio.frames import MEL_WINDOW
from emotion2vec.exporting.agreement import Agreement, Graph, check
from emotion2vec.exporting.network import FRAMES, INPUTS, SCORES, TOKENS, NetworkPath, WholePath, facts, trace
from emotion2vec.files import complete_file
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.version import __version__

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What ONNX needs: the format, PyTorch's exporter, and what the result is compared with."""

INSTALL = "pip install 'emotion2vec[onnx]'"
"""The command that installs them."""


def missing_packages() -> list[str]:
    """Packages that an export to ONNX needs, and that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def write_network(model: Emotion2vec, target: Path) -> Agreement:
    """Write the network of a model as ONNX for our own use: normalized samples in, the last block's output out.

    Args:
        model: on the CPU and in eval mode, not packed.
        target: the file; it gets its name when it was compared with the model.

    Raises:
        CheckpointError: the graph does not compute what the model computes.
        OSError: the file cannot be written.
    """
    with complete_file(target) as partial:
        return write_onnx(model, partial, NetworkPath)


def write_onnx(
    model: Emotion2vec, partial: Path, kind: type[NetworkPath] = WholePath, *, int8: bool = False
) -> Agreement:
    """Write a model as ONNX, and compare the file with it."""
    with _quiet():
        program = torch.onnx.export(trace(model, kind), input_names=list(INPUTS), output_names=kind.outputs(model))
    assert program is not None
    graph = program.model
    graph.producer_name, graph.producer_version = "emotion2vec", __version__
    graph.metadata_props.update(facts(model))
    _name_shapes(graph, model)
    program.save(partial)
    if int8:
        quantize(partial)
    return check(model, open_onnx(partial), kind, int8=int8)


def quantize(partial: Path) -> None:
    """Turn the weights of an ONNX file's matrix products into 8 bits, in place.

    Mel filters stay as they are, and with them the first product of the blocks behind: powers of a spectrum span too
    many magnitudes to be rounded together, and so do the frames that Whisper's first block sees.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(partial)
    del graph.graph.value_info[:]  # the quantizer transposes the head's weight and keeps its old shape
    shapes = {item.name: list(item.dims) for item in graph.graph.initializer}
    products = [node for node in graph.graph.node if node.op_type == "MatMul" and node.input[1] in shapes]
    mel = shapes[products[0].input[1]][0] == MEL_WINDOW // 2 + 1
    with _quiet():
        quantize_dynamic(
            graph,
            partial,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[node.name for node in products[:2]] if mel else [],
            per_channel=True,
            weight_type=QuantType.QUInt8,  # signed ones overflow on processors without VNNI
        )


def _name_shapes(graph: Any, model: Emotion2vec) -> None:
    """Name the free dimensions of an ONNX graph's inputs and outputs (an `onnx_ir.Model`) after what they count."""
    from onnx_ir import Shape

    shapes: dict[str, list[str | int]] = {
        "waveforms": ["batch", "samples"],
        "lengths": ["batch"],
        FRAMES: ["batch", "frames", model.config.width],
        TOKENS: ["batch", model.config.tokens, model.config.width],
        "utterance": ["batch", model.config.width],
        "frame_counts": ["batch"],
        SCORES: ["batch", len(model.head.labels) if model.head is not None else 0],
    }
    for value in [*graph.graph.inputs, *graph.graph.outputs]:
        value.shape = Shape(shapes[value.name])


def open_onnx(path: Path) -> Graph:
    """Open an ONNX file, ready to run."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(waveforms: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"waveforms": waveforms, "lengths": lengths}), strict=True))

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter prints and warns about its own machinery away from the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
