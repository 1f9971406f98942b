"""Talkers of whom some are labelled by people, and the others are the pool."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetune.talkers import write_model, write_talkers
from iterate.pools import Speech, divide_talkers


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """Six talkers with labels and three without."""
    return divide_talkers(write_talkers(tmp_path_factory.mktemp("everybody"), speakers=9, takes=2), 6)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights and no head."""
    return write_model(tmp_path_factory.mktemp("models") / "small")
