"""Environments that have what this one has but not this package, and copies of the checkout, to install into them."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import venv
from pathlib import Path

NO_NETWORK = """
import socket

def refuse(*arguments, **words):
    raise AssertionError("something asked for the network")

socket.socket.connect = socket.getaddrinfo = refuse
"""
"""A module that every Python of an environment loads at its start."""


def run(*command: str | Path, at: Path, **variables: str) -> str:
    """What a command says; one that fails shows why."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMOTION2VEC"))}
    done = subprocess.run(list(map(str, command)), cwd=at, env=kept | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(root: Path) -> list[str]:
    """Files of the repository that are there."""
    names = run("git", "ls-files", "-z", at=root).split("\0")
    return [name for name in names if name and (root / name).is_file()]


def copied(root: Path, to: Path, names: list[str]) -> Path:
    """A folder with some of its files."""
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, to / name)
    return to


def environment(folder: Path, *, network: bool = False) -> Path:
    """Python of an environment that has what this one has, but not this package."""
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])", at=folder).strip())
    run(python, "-m", "pip", "uninstall", "--yes", "--quiet", "setuptools", at=folder)  # that of others is newer
    others = folder / "others"
    others.mkdir()
    for packages in site.getsitepackages():
        for path in Path(packages).iterdir():
            ours = any(path.name.startswith(name) for name in ("emotion2vec", "__editable__", "pip", "sitecustomize"))
            if not ours and not (others / path.name).exists():
                (others / path.name).symlink_to(path)
    (own / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    if not network:
        (own / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    return python
