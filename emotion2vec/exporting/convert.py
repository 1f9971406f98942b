"""Convert a checkpoint of any format that we read to any that we write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from emotion2vec.checkpoint.budget import refusing
from emotion2vec.checkpoint.formats.fairseq import write_fairseq
from emotion2vec.checkpoint.formats.funasr import write_funasr
from emotion2vec.checkpoint.formats.huggingface import write_huggingface
from emotion2vec.checkpoint.native import save_model
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.program import write_graph
from emotion2vec.files import check_folder_name
from emotion2vec.model.foreign_config import ForeignConfig


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        output: the file or folder that was written.
        read: the format that was read.
        written: the format that was written.
        notes: what a user should know: what was left out, and what the reader said.
    """

    output: Path
    read: str
    written: str
    notes: list[str]


def convert(
    source: str | Path,
    output: str | Path,
    *,
    to: str = "native",
    use: str = "student",
    keep_layers: int | None = None,
    dtype: str | None = None,
) -> Conversion:
    """Convert a checkpoint. Unless `dtype` is given, weights keep their values and their dtype, bit for bit.

    Args:
        source: whatever `load_model` takes.
        output: where to: a `.pt` file for fairseq, a new folder for the other formats.
        to: `native`, `fairseq`, `funasr`, `huggingface` or `onnx-ready`.
        use: whose weights become the model's, `student` or `teacher`; the teacher's are then not kept apart any more.
        keep_layers: how many blocks are kept, from the first on; None for all.
        dtype: what weights are rounded to, `fp32`, `fp16` or `bf16`; None for what they are.

    Raises:
        ConfigError: there is no such format, something is at `output` already, there are not so many blocks, no such
            `dtype`, or it cannot hold a weight.
        CheckpointError: the source cannot be read, or the format cannot hold it.
    """
    if to not in WRITERS:
        raise ConfigError(f"to is {to!r}, expected one of {', '.join(WRITERS)}")
    target = Path(output)
    _check_output(target, to)
    if dtype is not None and to == "onnx-ready":
        raise ConfigError(f"dtype is {dtype}, but onnx-ready is a graph that computes in fp32, expected none")
    found = read_source(source)
    weights = found.weights(use)
    _check_complete(found)
    if use == "teacher":
        found = replace(found, student=weights, teacher={})
    if keep_layers is not None:
        found = found.cut(keep_layers)
    if dtype is not None:
        found = found.cast(dtype)
    found = _in_form(found, to)
    return Conversion(target, found.format, to, found.notes + WRITERS[to](found, target))


def _check_output(target: Path, to: str) -> None:
    if target.exists():
        raise ConfigError(f"{target}: is there already, expected a new path; nothing was overwritten")
    if to == "fairseq" and target.suffix != ".pt":
        raise ConfigError(f"{target}: a fairseq checkpoint is one file, expected a path that ends in .pt")
    if to != "fairseq":
        check_folder_name(target, "output", to)


def _check_complete(found: Source) -> None:
    """Refuse weights that do not fit their own dimensions, before anything is written."""
    from emotion2vec.checkpoint.weights import check_finite, check_weights

    with refusing(found.path):
        check_weights(found.shapes(), found.student, str(found.path))
    for name, value in found.student.items():
        check_finite(name, value, str(found.path))
        found.release()
    if bool(found.labels) != any(name.startswith("head.") for name in found.student):
        raise CheckpointError(f"{found.path}: labels without a head, or a head without labels")


def _in_form(found: Source, to: str) -> Source:
    """The checkpoint with a head as the format has it."""
    from emotion2vec.checkpoint.linear_head import one_layer, two_layers

    if isinstance(found.config, ForeignConfig) and to not in FOREIGN:
        raise CheckpointError(
            f"{found.path}: holds a {found.config.type} of transformers, and {to} holds networks of ours; expected to "
            f"be one of {', '.join(FOREIGN)}"
        )
    if to != "native":
        found = found.without_further()
    if isinstance(found.config, ForeignConfig):
        return found if to == "native" else two_layers(found)
    return found if to in ANY_HEAD else one_layer(found)


def _write_native(source: Source, folder: Path) -> list[str]:
    save_model(
        folder,
        source.config,
        source.student,
        labels=source.labels,
        head=source.head,
        further=source.further,
        heard=source.heard,
    )
    left = [part for part, there in (("teacher", source.teacher), ("decoder", source.decoder)) if there]
    return [f"left out, as only pretraining needs it: {' and '.join(left)}"] if left else []


WRITERS: dict[str, Callable[[Source, Path], list[str]]] = {
    "native": _write_native,
    "fairseq": write_fairseq,
    "funasr": write_funasr,
    "huggingface": write_huggingface,
    "onnx-ready": write_graph,
}
"""Formats that we write, by name."""

FOREIGN = ("native", "huggingface")
"""Those that can hold encoders of transformers."""

ANY_HEAD = ("native", "onnx-ready", "huggingface")
"""Those that can hold every kind of head on a network of ours."""
