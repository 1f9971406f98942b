"""Export a model as a graph that runs without this package: ONNX, or a `torch.export` program.

A graph gets its name only after it was run and compared with the model.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint.loading import build_model, load_model
from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.files import check_folder_name, complete_file, complete_folder

if TYPE_CHECKING:
    import numpy as np

    from emotion2vec.export.graph import Agreement, Graph, NetworkPath
    from emotion2vec.model.encoder import Emotion2vec

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
"""File endings by format."""

TOLERANCE = 1e-4
"""Largest absolute difference between a graph's outputs and the model's."""

INT8_COSINE = 0.99
"""Lowest cosine of a frame or an utterance of a graph with weights in int8 to the model's."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What ONNX needs: the format, PyTorch's exporter, and what the result is compared with."""

INSTALL = "pip install 'emotion2vec[onnx]'"
"""The command that installs them."""

FACTS_FILE = "emotion2vec.json"
"""The extra file of a `torch.export` program that says what it is; ONNX has metadata of its own."""


@dataclass(frozen=True)
class Exported:
    """What `export` did.

    Attributes:
        output: the file that was written.
        format: its format.
        difference: the largest absolute difference of any output to the model's, over clips of several lengths.
        cosine: the lowest cosine of a frame or an utterance to the model's, over the same clips.
    """

    output: Path
    format: str
    difference: float
    cosine: float


def export(
    model: str | Path | Emotion2vec, output: str | Path, *, format: str = "onnx", int8: bool = False
) -> Exported:
    """Export the whole path from 16 kHz samples to features and, with a head, scores, for any batch and length.

    The graph takes `waveforms` (B, S) float32, not normalized, and `lengths` (B,) int64, the samples of each; it gives
    `frames` (B, T, D), zero in the padding, `utterance` (B, D), `frame_counts` (B,) and, with a head, `scores` (B, C).

    Args:
        model: a model, or what `load_model` takes.
        output: a new file that ends in `.onnx` or `.pt2`, or a folder for `model.onnx` or `model.pt2`.
        format: `onnx` or `torch-export`.
        int8: keep the weights of matrix products in int8, per channel, and round what they are multiplied with as it
            comes (ONNX Runtime's dynamic quantization): smaller, faster and less exact. Only for ONNX.

    Raises:
        ConfigError: there is no such format, something is at `output` already, or a package is missing.
        CheckpointError: the model cannot be loaded, or its graph does not compute what it computes.
    """
    if format not in SUFFIXES:
        raise ConfigError(f"format is {format!r}, expected {' or '.join(SUFFIXES)}")
    if int8 and format != "onnx":
        raise ConfigError(f"int8 is for format onnx, found {format}")
    target = _target(Path(output), format)
    if format == "onnx" and (missing := missing_packages()):
        raise ConfigError(f"format onnx needs {', '.join(missing)}: {INSTALL}")
    from emotion2vec.export.graph import WholePath

    network = load_model(model) if isinstance(model, str | Path) else copy.deepcopy(model).cpu().eval()
    try:
        with complete_file(target) as partial:
            if format == "onnx":
                agreement = _write_onnx(network, partial, WholePath, int8=int8)
            else:
                agreement = _write_program(network, partial)
    except OSError as error:
        raise ConfigError(f"output {target}: cannot be written: {error.strerror or error}") from error
    return Exported(target, format, *agreement)


def write_network(model: Emotion2vec, target: Path) -> Agreement:
    """Write the network of a model as ONNX for our own use: normalized samples in, the last block's output out.

    Args:
        model: on the CPU and in eval mode, not packed.
        target: the file; it gets its name when it was compared with the model.

    Raises:
        CheckpointError: the graph does not compute what the model computes.
        OSError: the file cannot be written.
    """
    from emotion2vec.export.graph import NetworkPath

    with complete_file(target) as partial:
        return _write_onnx(model, partial, NetworkPath)


def write_graph(source: Source, folder: Path) -> list[str]:
    """Write a `torch.export` program as `model.pt2`: the format `onnx-ready` of `convert`.

    Returns:
        What a user should know about it.
    """
    with complete_folder(folder) as partial:
        _write_program(build_model(source), partial / f"model{SUFFIXES['torch-export']}")
    return ["`emotion2vec export` writes the same graph, also as ONNX"]


def _target(output: Path, format: str) -> Path:
    """The file to write; an output without the format's suffix is a folder."""
    suffix = SUFFIXES[format]
    if output.suffix in SUFFIXES.values() and output.suffix != suffix:
        raise ConfigError(f"output is {output}, expected a name that ends in {suffix} for format {format}")
    target = output if output.suffix == suffix else output / f"model{suffix}"
    if target.exists():
        raise ConfigError(f"{target}: is there already, expected a new path; nothing was overwritten")
    if output != target and output.exists() and not output.is_dir():
        raise ConfigError(f"output {output}: is no folder, expected one or a name that ends in {suffix}")
    if target != output:
        check_folder_name(output, "output", f"without the suffix {suffix} the graph")
    return target


def missing_packages() -> list[str]:
    """Packages that an export to ONNX needs, and that are not installed."""
    from importlib.util import find_spec

    return [name for name in PACKAGES if find_spec(name) is None]


def _write_onnx(model: Emotion2vec, partial: Path, kind: type[NetworkPath], *, int8: bool = False) -> Agreement:
    """Write a model as ONNX, and compare the file with it."""
    import torch

    from emotion2vec.export.graph import INPUTS, facts, name_shapes, trace
    from emotion2vec.version import __version__

    with _quiet():
        program = torch.onnx.export(trace(model, kind), input_names=list(INPUTS), output_names=kind.outputs(model))
    assert program is not None
    graph = program.model
    graph.producer_name, graph.producer_version = "emotion2vec", __version__
    graph.metadata_props.update(facts(model))
    name_shapes(graph, model)
    program.save(partial)
    if int8:
        _quantize(partial)
    return _check(model, _onnx_graph(partial), kind, int8=int8)


def _quantize(partial: Path) -> None:
    """Turn the weights of an ONNX file's matrix products into int8, in place."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(partial)
    del graph.graph.value_info[:]  # the quantizer transposes the head's weight and keeps its old shape
    with _quiet():
        quantize_dynamic(graph, partial, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def _write_program(model: Emotion2vec, partial: Path) -> Agreement:
    """Write a model as a `torch.export` program, and compare the file with it."""
    import torch

    from emotion2vec.export.graph import WholePath, facts, trace

    with open(partial, "wb") as stream:
        torch.export.save(trace(model), stream, extra_files={FACTS_FILE: json.dumps(facts(model), indent=2)})
    return _check(model, _program_graph(partial, model), WholePath)


def _check(model: Emotion2vec, graph: Graph, kind: type[NetworkPath], *, int8: bool = False) -> Agreement:
    """Compare a written graph with the model.

    Raises:
        CheckpointError: they differ.
    """
    from emotion2vec.export.graph import compare

    agreement = compare(model, graph, kind)
    if int8 and not agreement.cosine >= INT8_COSINE:
        raise CheckpointError(
            f"the lowest cosine of the graph's features to the model's is {agreement.cosine:.4f}, expected at least "
            f"{INT8_COSINE}; nothing was kept"
        )
    if not int8 and not agreement.difference <= TOLERANCE:
        raise CheckpointError(
            f"the graph's outputs differ from the model's by {agreement.difference:.1e}, expected at most "
            f"{TOLERANCE:.0e}; nothing was kept"
        )
    return agreement


def _onnx_graph(path: Path) -> Graph:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(waveforms: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"waveforms": waveforms, "lengths": lengths}), strict=True))

    return run


def _program_graph(path: Path, model: Emotion2vec) -> Graph:
    import torch
    import torch.nn.functional as F

    from emotion2vec.export.graph import WholePath, shortest_waveforms

    with open(path, "rb") as stream:
        module = torch.export.load(stream).module()
    names, least = WholePath.outputs(model), shortest_waveforms(model)

    @torch.inference_mode()
    def run(waveforms: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        padded = F.pad(torch.from_numpy(waveforms), (0, max(0, least - waveforms.shape[1])))  # (B, S)
        outputs = module(padded, torch.from_numpy(lengths))
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

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
