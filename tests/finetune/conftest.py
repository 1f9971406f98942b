from __future__ import annotations

from pathlib import Path

import pytest
from finetune.talkers import write_model, write_talkers


@pytest.fixture(scope="session")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of four talkers of three classes, two clips each."""
    return write_talkers(tmp_path_factory.mktemp("talkers"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder with random weights and no head."""
    return write_model(tmp_path_factory.mktemp("models") / "small")
