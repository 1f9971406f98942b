"""Loggers of other tools: TensorBoard and Weights & Biases."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.files import complete_first
from emotion2vec.training.config import LogConfig

WANDB_ID = "wandb_id.txt"


def build_loggers(config: LogConfig, run: Path) -> list[Any]:
    """Create the loggers that the configuration asks for.

    Raises:
        ConfigError: a package that one of them needs is missing, with the command that installs it.
    """
    loggers: list[Any] = []
    for wanted, package in ((config.tensorboard, "tensorboard"), (config.wandb, "wandb")):
        if wanted and not _importable(package):
            raise ConfigError(f"log.{package} is on, but {package} is missing: pip install 'emotion2vec[{package}]'")
    if config.tensorboard:
        from lightning.fabric.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(run, name="", version="tensorboard"))
    if config.wandb:
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(save_dir=run, name=run.name, id=_wandb_id(run), resume="allow"))
    return loggers


def _wandb_id(run: Path) -> str:
    """The run's own id there, which is kept in its folder: other runs' folders may have the same name.

    Raises:
        StorageError: it cannot be kept.
    """
    file = run / WANDB_ID
    try:
        if not file.is_file():
            with complete_first(file) as partial:
                partial.write_text(secrets.token_hex(8), encoding="ascii")
        return file.read_text(encoding="ascii")
    except OSError as error:
        raise StorageError(f"{file}: cannot be written: {error.strerror}") from error


def _importable(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
