"""Shim: everything is declared in pyproject.toml; this only puts files that live outside the package into wheels."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ASSETS = ("configs", "checkpoints/compact", "checkpoints/tiny")


class BuildWithAssets(build_py):
    """Copy shipped configurations and models to emotion2vec/_assets; an editable install finds them in the clone."""

    def run(self) -> None:
        """Build the package, then copy the assets unless the install is editable."""
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).parent
        for asset in ASSETS:
            if (root / asset).is_dir():
                shutil.copytree(root / asset, Path(self.build_lib, "emotion2vec/_assets", asset), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithAssets})
