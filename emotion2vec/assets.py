"""Where files that ship with the package are: configs and checkpoints."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "compact"
"""The shipped model that is taken where none is named."""


def asset_folder(name: str) -> Path:
    """The folder `configs` or `checkpoints`: beside the package in a clone, inside it in an installed wheel."""
    package = Path(__file__).resolve().parent
    installed = package / "_assets" / name
    return installed if installed.is_dir() else package.parent / name
