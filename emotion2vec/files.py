"""The one way that anything is written: under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from emotion2vec.errors import ConfigError

OF_FILES = frozenset({
    ".npy", ".npz", ".safetensors", ".parquet", ".arrow", ".feather", ".h5", ".hdf5", ".ark", ".scp", ".mat", ".pkl",
    ".pickle", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".xlsx", ".rttm", ".html", ".htm",
    ".md", ".tex", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a",
    ".mp4", ".webm", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".pt", ".pth", ".ckpt", ".bin", ".onnx",
    ".pt2", ".pb", ".py", ".log", ".db", ".sqlite",
})  # fmt: skip
"""Suffixes that everybody takes for those of files, in lower case."""


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
    publish(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, complete or not at all; odd names in it (surrogates of bytes) are written as those bytes."""
    with complete_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(document: Mapping[str, Any], path: str | Path) -> None:
    """Write a JSON document, complete or not at all.

    Raises:
        ValueError: the document holds a NaN or an infinity; nothing is written.
    """
    write_text(Path(path), json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def publish(partial: Path, path: Path) -> None:
    """Give a closed file that is complete its name, in place of what was there; it is on disk before and after."""
    _sync(partial)
    os.replace(partial, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: str | Path) -> None:
    """Find out before hours of work whether a file can be written there.

    Raises:
        ConfigError: it cannot.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"output {path}: cannot be written: {error.strerror}") from error
    if path.is_dir():
        raise ConfigError(f"output {path}: is a folder, expected a file")


def check_folder_name(path: str | Path, what: str, written: str) -> None:
    """See to it that a new folder is not called like a file; one that is there may have any name.

    Args:
        path: the folder to be.
        what: the argument, for the message.
        written: what will lie in it.

    Raises:
        ConfigError: it has the suffix of a file.
    """
    suffix = Path(path).suffix
    if suffix.lower() in OF_FILES and not Path(path).is_dir():
        raise ConfigError(f"{what} is {path}, but {written} is written into a folder, expected a path without {suffix}")


def check_file_name(path: str | Path, what: str, suffixes: Collection[str]) -> None:
    """See to it that a file is called by what is written into it; it may have no suffix.

    Args:
        path: the file to be.
        what: the argument, for the message.
        suffixes: those that are right, in lower case.

    Raises:
        ConfigError: it has another suffix.
    """
    if Path(path).suffix.lower() not in {*suffixes, ""}:
        *others, last = suffixes
        right = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"{what} is {path}, expected a name that ends in {right}, which is what is written")
