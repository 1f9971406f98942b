"""Files and folders that appear under their names only when they are complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; after the block it is on disk under its name, in place of what was there.

    A block that raises leaves what was there, and nothing else.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    mode = partial.stat().st_mode & 0o666  # the user's umask: safetensors writes for the owner's eyes only
    for path in [*partial.rglob("*"), partial]:
        if path.is_file():
            path.chmod(mode)
        _sync(path)
    replaced = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(partial, folder)
    _sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; after the block the file is on disk under its name, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several processes may write the same file
    partial.touch()
    mode = partial.stat().st_mode & 0o666
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.chmod(mode)
    _sync(partial)
    os.replace(partial, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
