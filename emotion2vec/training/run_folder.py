"""The folder of a run: resolved config, versions, metrics and checkpoints."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.checkpoint.native import (
    CONFIG_FILE,
    FORMAT,
    FORMAT_VERSION,
    STATE_FILE,
    WEIGHTS_FILE,
    checkpoints,
    newest_checkpoint,
    read_tensors,
    write_folder,
)
from emotion2vec.config import PretrainConfig, load_config, to_yaml
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.strict import to_dict

if TYPE_CHECKING:
    from torch import Tensor

TRAINING_WEIGHTS_FILE = "training.safetensors"
# Settings that may differ between a run and its continuation, because they do not change what is computed.
_FREE_SECTIONS = ("log", "checkpoint")
_FREE_KEYS = ("run.dir", "data.workers", "data.cache", "data.max_bad_share", "data.patience")


@dataclass
class TrainingState:
    """What a run needs to go on, beside the model's own weights.

    Attributes:
        values: numbers and short lists, such as the update and the position in the data.
        weights: the student's weights, as in `model.safetensors`.
        tensors: everything else: teacher, decoder, optimizer moments, running statistics.
    """

    values: dict[str, Any]
    weights: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]


class RunFolder:
    """One run's folder; opening it checks that the run there, if any, is the same one."""

    def __init__(self, config: PretrainConfig):
        self.path = Path(config.run.dir)
        self.config = config
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / "metrics.jsonl"

    def prepare(self) -> None:
        """Create the folder and write `config.yaml` and `versions.json`, before the first update.

        Raises:
            ConfigError: a run with other settings is there, or the path is a file.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(f"run.dir is {self.path}, which is a file, expected a folder") from error
        if newest_checkpoint(self.path) is not None:
            self._check_same_run()
        self.config_file.write_text(to_yaml(self.config), encoding="utf-8")
        (self.path / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n", encoding="utf-8")

    def _check_same_run(self) -> None:
        if not self.config_file.is_file():
            raise ConfigError(f"{self.path}: holds checkpoints but no config.yaml, expected another run.dir")
        there, here = _fixed_values(load_config(self.config_file)), _fixed_values(self.config)
        changed = [
            f"{key} is {there.get(key)!r} there and {here[key]!r} now" for key in here if there.get(key) != here[key]
        ]
        if changed:
            raise ConfigError(
                f"run.dir {self.path} holds a run with other settings; continue with its own, or use another run.dir:\n"
                + "\n".join(f"  {change}" for change in changed)
            )

    def load(self) -> TrainingState | None:
        """Read the newest complete checkpoint, None when there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        folder = newest_checkpoint(self.path)
        if folder is None:
            return None
        try:
            values = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / STATE_FILE}: cannot be read as JSON: {error}") from error
        return TrainingState(
            values=values,
            weights=read_tensors(folder / WEIGHTS_FILE),
            tensors=read_tensors(folder / TRAINING_WEIGHTS_FILE),
        )

    def save(self, state: TrainingState) -> Path:
        """Write a checkpoint, then remove the oldest beyond `checkpoint.keep_last`."""
        folder = self.path / "checkpoints" / f"update_{state.values['update']:08d}"
        model = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": to_dict(self.config.model)}
        write_folder(
            folder,
            {WEIGHTS_FILE: state.weights, TRAINING_WEIGHTS_FILE: state.tensors},
            {CONFIG_FILE: model, STATE_FILE: state.values},
        )
        for old in checkpoints(self.path)[: -self.config.checkpoint.keep_last]:
            shutil.rmtree(old)
        return folder

    def truncate_metrics(self, update: int) -> None:
        """Drop the lines of `metrics.jsonl` after `update`, which the run is about to compute again."""
        if not self.metrics_file.is_file():
            return
        kept = []
        for line in self.metrics_file.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                if line.endswith("\n") and json.loads(line)["update"] <= update:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        partial = self.metrics_file.with_suffix(".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(self.metrics_file)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide numbers, and the git commit of a clone."""
    found: dict[str, str | None] = {"python": platform.python_version(), "git_commit": _git_commit()}
    for name in ("emotion2vec", "torch", "lightning", "lhotse", "numpy", "soundfile", "soxr"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _git_commit() -> str | None:
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(source), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _fixed_values(config: PretrainConfig) -> dict[str, Any]:
    """Settings that decide what is computed, by dotted name."""
    return {
        f"{section}.{key}": value
        for section, values in to_dict(config).items()
        if section not in _FREE_SECTIONS
        for key, value in values.items()
        if f"{section}.{key}" not in _FREE_KEYS
    }
