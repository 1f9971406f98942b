"""The native format: a folder with `model.json` (format version, dimensions) and `model.safetensors` (weights).

A run folder is read through its newest complete checkpoint, `checkpoints/update_N/`, which is such a folder too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.checkpoint.heard import HEARD_FILE, Heard, read_heard
from emotion2vec.checkpoint.mapped import map_safetensors
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import decoder_dimensions
from emotion2vec.documents import read_json
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.files import complete_folder
from emotion2vec.model.config import (
    Emotion2vecConfig,
    EncoderConfig,
    FurtherHead,
    HeadConfig,
    head_config,
    model_config,
)
from emotion2vec.model.foreign_config import ForeignConfig, foreign_config
from emotion2vec.settings import to_dict
from emotion2vec.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "emotion2vec"
FORMAT_VERSION = 1
CONFIG_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
STATE_FILE = "training.json"
"""Only in checkpoints of a run: its update and position in the data."""
TRAINING_WEIGHTS_FILE = "training.safetensors"
"""Only in checkpoints of a run: teacher, decoder, running statistics and the optimizer's moments."""
VERSIONS_FILE = "versions.json"
"""Only in the folder of a run, from before its first update on: what it runs with."""


def read_native(folder: Path) -> Source:
    """Read a model folder; a checkpoint of a run holds the teacher and the decoder too.

    Raises:
        CheckpointError: it is truncated, or of another format or version.
    """
    known, weights = read_description(folder), folder / WEIGHTS_FILE
    tensors, file = map_safetensors(weights)
    source = Source("native", folder, [weights], known.config, tensors, labels=known.labels, release=file.release)
    source.head, source.further = known.head, known.further
    source.heard = read_heard(folder)
    training = folder / TRAINING_WEIGHTS_FILE
    if training.is_file():
        rest, _ = map_safetensors(training)
        source.teacher, source.decoder = (
            {name.removeprefix(prefix): value for name, value in rest.items() if name.startswith(prefix)}
            for prefix in ("pretrainer.teacher.", "pretrainer.decoder.")
        )
        source.decoder_config = decoder_dimensions(source.decoder)
        source.left = [f"{TRAINING_WEIGHTS_FILE} (optimizer state)"]
        source.update = int(read_state(folder)["update"])
    return source


def read_state(folder: Path) -> dict[str, Any]:
    """Read the numbers that a run goes on from: its update, its position in the data.

    Raises:
        CheckpointError: they cannot be read.
    """
    path = folder / STATE_FILE
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error


def shipped_models() -> dict[str, Path]:
    """Models that ship with the package, by name."""
    from emotion2vec.assets import asset_folder

    root = asset_folder("checkpoints")
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{CONFIG_FILE}"))}


def newest_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint of a run folder, or None."""
    found = checkpoints(run)
    return found[-1] if found else None


def checkpoints(run: Path) -> list[Path]:
    """All complete checkpoints of a run folder, oldest first; a folder gets its final name only when complete."""
    return sorted(folder for folder in (run / "checkpoints").glob("update_*[0-9]") if (folder / CONFIG_FILE).is_file())


@dataclass(frozen=True)
class Description:
    """What `model.json` says: the network's dimensions and, where there are heads, their labels and which they are."""

    config: Emotion2vecConfig | ForeignConfig
    labels: tuple[str, ...] = ()
    head: HeadConfig = field(default_factory=HeadConfig)
    further: tuple[FurtherHead, ...] = ()


def read_description(folder: Path) -> Description:
    """Read the description of a model folder.

    Raises:
        CheckpointError: `model.json` is broken or of another format or version.
    """
    path = folder / CONFIG_FILE
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: format is {found!r}, expected {FORMAT!r}")
    if content.get("format_version") != FORMAT_VERSION:
        release = content.get("written_by")
        remedy = f"; it was written by {release}, which reads it" if isinstance(release, str) else ""
        raise CheckpointError(
            f"{path}: format_version is {content.get('format_version')!r}, this version of emotion2vec reads "
            f"{FORMAT_VERSION}{remedy}"
        )
    labels = _labels_of(content, str(path))
    network = "foreign" if "foreign" in content else "model"
    for name, section in ((network, content.get(network)), ("head", content.get("head", {}))):
        if not isinstance(section, dict):
            raise CheckpointError(f"{path}: {name} is {section!r}, expected settings by name")
    try:
        head = head_config(content.get("head", {}), f"{path}, head")
        return Description(_config_of(content, str(path)), labels, head, _further_of(content, str(path)))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _labels_of(content: Mapping[str, Any], source: str) -> tuple[str, ...]:
    labels = content.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CheckpointError(f"{source}: labels is {labels!r}, expected a list of text")
    return tuple(labels)


def _further_of(content: Mapping[str, Any], source: str) -> tuple[FurtherHead, ...]:
    """The heads of a description beside the main one."""
    listed = content.get("further", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) and "target" in one for one in listed):
        raise CheckpointError(f"{source}: further is {listed!r}, expected a list of heads, each with a target")
    names = [str(one["target"]) for one in listed]
    if len({"", *names}) <= len(names):
        raise CheckpointError(f"{source}: targets of further heads are {', '.join(names)}, expected different ones")
    places = [f"{source}, head of {name}" for name in names]
    return tuple(
        FurtherHead(name, _labels_of(one, place), head_config(one.get("head", {}), place))
        for name, place, one in zip(names, places, listed, strict=True)
    )


def _config_of(content: Mapping[str, Any], source: str) -> Emotion2vecConfig | ForeignConfig:
    """The network of a description: ours, under `model`, or one of transformers, under `foreign`."""
    if "foreign" not in content:
        return model_config(content["model"], source)
    foreign = content["foreign"]
    known = (foreign.get("type"), foreign.get("settings"), foreign.get("normalizes"))
    return foreign_config(*known, source, last_norm=foreign.get("last_norm", True))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file into memory of its own.

    Raises:
        CheckpointError: it is missing, truncated or of another format.
    """
    return {name: value.clone() for name, value in map_safetensors(path)[0].items()}


def save_model(
    folder: str | Path,
    config: EncoderConfig,
    weights: Mapping[str, Tensor],
    *,
    labels: Sequence[str] = (),
    head: HeadConfig | None = None,
    further: Sequence[FurtherHead] = (),
    heard: Heard | None = None,
) -> None:
    """Write a model folder.

    Args:
        folder: where to; what is there is replaced.
        config: the network's dimensions.
        weights: those of the model's `state_dict()`, in any float dtype.
        labels: the head's labels in its order; empty without a head.
        head: which head it is (`Head.config`), where there is one.
        further: the heads beside it (`SpeechEncoder.further_heads`).
        heard: which utterances trained the weights, where that is known.
    """
    tensors = {WEIGHTS_FILE: weights} | ({} if heard is None else {HEARD_FILE: heard_tensors(heard)})
    write_folder(Path(folder), tensors, {CONFIG_FILE: description(config, labels, head, further)})


def heard_tensors(heard: Heard) -> dict[str, Tensor]:
    """What `HEARD_FILE` holds."""
    import torch

    return {name: torch.from_numpy(keys) for name, keys in heard.tensors().items()}


def description(
    config: EncoderConfig,
    labels: Sequence[str] = (),
    head: HeadConfig | None = None,
    further: Sequence[FurtherHead] = (),
) -> dict[str, Any]:
    """What `model.json` holds; which head it is only where that is not the usual one."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "written_by": f"emotion2vec {__version__}",
    }
    content |= {"foreign": config.described()} if isinstance(config, ForeignConfig) else {"model": to_dict(config)}
    if labels:
        content["labels"] = list(labels)
        if head not in (None, HeadConfig()):
            content["head"] = to_dict(head)
    if further:
        content["further"] = [
            {"target": one.target, "labels": list(one.labels), "head": to_dict(one.config)} for one in further
        ]
    return content


def write_folder(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], documents: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write safetensors and JSON files to a folder that appears under its name only when it is complete."""
    from safetensors.torch import save_file

    with complete_folder(folder) as partial:
        for name, content in tensors.items():
            save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, partial / name)
        for name, document in documents.items():
            (partial / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
