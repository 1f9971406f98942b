"""Loggers of other tools."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from emotion2vec.training.config import LogConfig
from emotion2vec.training.loggers import WANDB_ID, build_loggers


class Wandb(ModuleType):
    """What Lightning uses of the package: notes with what runs are begun, and what they are told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.run = None
        self.begun: list[dict[str, Any]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []

    def init(self, **settings: Any) -> SimpleNamespace:
        self.begun.append(settings)
        return SimpleNamespace(log=lambda values, **_: self.told.append((settings["id"], values)))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    from lightning.pytorch.loggers import wandb as logger

    stub = Wandb()
    kinds = {"wandb.sdk.lib": "RunDisabled", "wandb.wandb_run": "Run"}
    for name, kind in kinds.items():
        module = ModuleType(name)
        setattr(module, kind, type(kind, (), {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.setattr(logger, "_WANDB_AVAILABLE", True)
    return stub


def test_a_run_folder_is_one_run_of_wandb_however_it_is_called(wandb: Wandb, tmp_path: Path) -> None:
    def log(folder: Path) -> str:
        (logger,) = build_loggers(LogConfig(wandb=True), folder)
        logger.log_metrics({"loss": 1.0}, step=1)
        assert wandb.begun[-1]["resume"] == "allow" and wandb.begun[-1]["name"] == folder.name
        assert wandb.told[-1][0] == wandb.begun[-1]["id"] and wandb.told[-1][1]["loss"] == 1.0
        return wandb.told[-1][0]

    first, other = log(tmp_path / "a" / "base"), log(tmp_path / "b" / "base")
    assert first != other and first.isalnum()
    assert log(tmp_path / "a" / "base") == first
    (tmp_path / "a").rename(tmp_path / "c")  # and a new one takes its place
    assert log(tmp_path / "c" / "base") == first == (tmp_path / "c" / "base" / WANDB_ID).read_text()
    assert log(tmp_path / "a" / "base") not in (first, other)


def test_processes_of_a_run_that_start_at_once_share_its_id(wandb: Wandb, tmp_path: Path) -> None:
    from emotion2vec.files import complete_first

    with complete_first(tmp_path / WANDB_ID) as partial:  # one has begun to write
        partial.write_text("0123456789abcdef")
        (logger,) = build_loggers(LogConfig(wandb=True), tmp_path)  # and another one is first
    (again,) = build_loggers(LogConfig(wandb=True), tmp_path)
    assert logger.experiment is not again.experiment
    assert wandb.begun[0]["id"] == wandb.begun[1]["id"] != "0123456789abcdef"
