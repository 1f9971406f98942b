"""Loggers of other tools: TensorBoard and Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emotion2vec.errors import ConfigError
from emotion2vec.training.config import LogConfig


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

        loggers.append(WandbLogger(save_dir=run, name=run.name, id=run.name, resume="allow"))
    return loggers


def _importable(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
