"""The native format: a folder with `model.json` (format version, dimensions) and `model.safetensors` (weights).

A run folder is read through its newest complete checkpoint, `checkpoints/update_N/`, which is such a folder too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.config import Emotion2vecConfig, model_config
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.strict import to_dict

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "emotion2vec"
FORMAT_VERSION = 1
CONFIG_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"
STATE_FILE = "training.json"
"""Only in checkpoints of a run: its update and position in the data."""


def find_model(source: str | Path) -> Path:
    """Find the folder with `model.json` that `source` means.

    Raises:
        CheckpointError: there is none.
    """
    folder = Path(source)
    if not folder.exists():
        shipped = shipped_models()
        if str(source) in shipped:
            return shipped[str(source)]
        raise CheckpointError(
            f"{source}: no such folder, expected a model folder, a run folder, or one of the models that ship with the "
            f"package: {', '.join(shipped) or 'none'}"
        )
    if (folder / CONFIG_FILE).is_file():
        return folder
    newest = newest_checkpoint(folder)
    if newest is None:
        kind = "file" if folder.is_file() else "folder"
        raise CheckpointError(
            f"{source}: this {kind} is no model, expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or a run "
            "folder with at least one complete checkpoint"
        )
    return newest


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
    """What `model.json` says: the network's dimensions and, where there is a head, its labels."""

    config: Emotion2vecConfig
    labels: tuple[str, ...] = ()


def read_description(folder: Path) -> Description:
    """Read the description of a model folder.

    Raises:
        CheckpointError: `model.json` is broken or of another format or version.
    """
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{path}: format is {found!r}, expected {FORMAT!r}")
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {content.get('format_version')!r}, this version of emotion2vec reads "
            f"{FORMAT_VERSION}"
        )
    labels = content.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise CheckpointError(f"{path}: labels is {labels!r}, expected a list of text")
    try:
        return Description(model_config(content.get("model") or {}, str(path)), tuple(labels))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: it is missing, truncated or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file, expected the weights of the model") from error
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise CheckpointError(
            f"{path}: {size} bytes that are no complete safetensors file ({error}); it may be truncated"
        ) from error


def load_weights(module: Any, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a module, all of them and nothing else.

    Raises:
        CheckpointError: every name and shape that differs.
    """
    check_weights(module, weights, source)
    module.load_state_dict(dict(weights))


def check_weights(module: Any, weights: Mapping[str, Tensor], source: str) -> None:
    """Compare weights with a module's.

    Raises:
        CheckpointError: every name and shape that differs.
    """
    expected = module.state_dict()
    faults = [f"missing {name} {tuple(value.shape)}" for name, value in expected.items() if name not in weights]
    faults += [f"unexpected {name} {tuple(weights[name].shape)}" for name in weights if name not in expected]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if faults:
        raise CheckpointError(f"{source}: weights do not fit the model:\n" + "\n".join(f"  {f}" for f in faults))


def save_model(
    folder: str | Path, config: Emotion2vecConfig, weights: Mapping[str, Tensor], *, labels: Sequence[str] = ()
) -> None:
    """Write a model folder.

    Args:
        folder: where to; what is there is replaced.
        config: the network's dimensions.
        weights: those of `Emotion2vec.state_dict()`, in any float dtype.
        labels: the head's labels in its order; empty without a head.
    """
    write_folder(Path(folder), {WEIGHTS_FILE: weights}, {CONFIG_FILE: description(config, labels)})


def description(config: Emotion2vecConfig, labels: Sequence[str] = ()) -> dict[str, Any]:
    """What `model.json` holds."""
    content: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": to_dict(config)}
    return content | ({"labels": list(labels)} if labels else {})


def write_folder(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], documents: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write safetensors and JSON files to a folder that appears under its name only when it is complete."""
    from safetensors.torch import save_file

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, content in tensors.items():
            save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, partial / name)
        for name, document in documents.items():
            (partial / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        for path in [*partial.iterdir(), partial]:
            _sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk must not stay full of a folder that is of no use
        raise
    replaced = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(partial, folder)
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
