"""Export a model as a graph that runs without this package: ONNX, or a `torch.export` program.

A graph gets its name only after it was run and compared with the model.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.exporting.network import exportable
from emotion2vec.exporting.onnx import INSTALL, missing_packages, write_onnx
from emotion2vec.exporting.program import write_program
from emotion2vec.files import check_folder_name, complete_file
from emotion2vec.model.speech import SpeechEncoder

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
"""File endings by format."""


@dataclass(frozen=True)
class Exported:
    """What `export` did.

    Attributes:
        output: the file that was written.
        format: its format.
        difference: the largest absolute difference of any output to the model's, over clips of several lengths.
        cosine: the lowest cosine of a frame or an utterance to the model's, over the same clips.
        left: targets of the heads that the graph does not hold, as it holds the main one alone.
    """

    output: Path
    format: str
    difference: float
    cosine: float
    left: tuple[str, ...] = ()


def export(
    model: str | Path | SpeechEncoder, output: str | Path, *, format: str = "onnx", int8: bool = False
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
    found = load_model(model) if isinstance(model, str | Path) else model
    network = exportable(found) if found is not model else copy.deepcopy(exportable(found)).cpu().eval()
    try:
        with complete_file(target) as partial:
            agreement = write_onnx(network, partial, int8=int8) if format == "onnx" else write_program(network, partial)
    except OSError as error:
        raise ConfigError(f"output {target}: cannot be written: {error.strerror or error}") from error
    return Exported(target, format, *agreement, left=tuple(one.target for one in network.further_heads()))


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
