"""Names of outputs: a suffix that says something else than what is written is refused before work starts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from emotion2vec.errors import ConfigError

OF_FILES = frozenset({
    ".npy", ".npz", ".safetensors", ".parquet", ".arrow", ".feather", ".h5", ".hdf5", ".ark", ".scp", ".mat", ".pkl",
    ".pickle", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".xlsx", ".rttm", ".html", ".htm",
    ".md", ".tex", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a",
    ".mp4", ".webm", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".pt", ".pth", ".ckpt", ".bin", ".onnx",
    ".pt2", ".pb", ".py", ".log", ".db", ".sqlite",
})  # fmt: skip
"""Suffixes that everybody takes for those of files, in lower case."""


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
