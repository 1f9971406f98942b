"""Where features go: a file per item, or files of many; each appears under its name only when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Layout
from emotion2vec.extraction.writers.base import Output, Writer
from emotion2vec.extraction.writers.files import NpyWriter, SafetensorsWriter
from emotion2vec.extraction.writers.hdf5 import Hdf5Part
from emotion2vec.extraction.writers.iemocap import IemocapWriter
from emotion2vec.extraction.writers.kaldi import KaldiPart
from emotion2vec.extraction.writers.npz import NpzWriter
from emotion2vec.extraction.writers.parquet import ParquetPart
from emotion2vec.extraction.writers.parts import PartsWriter
from emotion2vec.extraction.writers.vectors import VectorsWriter
from emotion2vec.files import check_folder_name

__all__ = ["FORMATS", "Output", "Writer", "open_writer", "output_folder"]

_WRITERS: dict[str, Callable[[Output], Writer]] = {
    "npy": NpyWriter,
    "npz": NpzWriter,
    "safetensors": SafetensorsWriter,
    "parquet": lambda output: PartsWriter(output, ParquetPart),
    "hdf5": lambda output: PartsWriter(output, Hdf5Part),
    "kaldi": lambda output: PartsWriter(output, KaldiPart),
    "iemocap": IemocapWriter,
    "csv": lambda output: VectorsWriter(output, ".csv"),
    "xlsx": lambda output: VectorsWriter(output, ".xlsx"),
}

FORMATS = tuple(_WRITERS)
"""Names of the formats that can be written."""


ONE_FILE = ("npz", "csv", "xlsx")
"""Formats that are one file, whose name the output may be."""


def names_a_file(output: Path, format: str) -> bool:
    """Whether an output is the name of a format's only file, and not a folder."""
    return format in ONE_FILE and output.suffix.lower() == f".{format}"


def check_output(format: str, output: Path) -> Path:
    """The folder of an output, which may be the name of a format's only file; nothing is made.

    Raises:
        ConfigError: it is called like a file, or is one.
    """
    is_archive = names_a_file(output, format)
    if output.suffix.lower() == ".npz" and format != "npz":
        raise ConfigError(f"output {output} is the name of an archive, but format is {format!r}, expected npz")
    if not is_archive:
        check_folder_name(output, "output", f"format {format}")
    folder = output.parent if is_archive else output
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output {output}: {folder} is no folder, expected one or a free name")
    return folder


def output_folder(format: str, output: Path) -> Path:
    """The same, made where it was not there.

    Raises:
        ConfigError: it is called like a file, or cannot be created or written to.
    """
    folder = check_output(format, output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output {output}: {folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"output {output}: no permission to write to {folder}")
    return folder


def open_writer(format: str, output: str | Path, layout: Layout, *, resume: bool = False, tag: str = "") -> Writer:
    """Create the writer of a format; `output` is its folder, or the name of its only file if it ends like that.

    Raises:
        ConfigError: the output cannot be created or, to resume, cannot be read; the format cannot hold the layout; or
            it needs a package that is not installed.
    """
    output = Path(output)
    folder = output_folder(format, output)
    name = output.name if names_a_file(output, format) else None
    return _WRITERS[format](Output(folder, layout, resume, tag, name))
