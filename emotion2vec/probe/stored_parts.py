"""Reading formats with many clips in a file: Parquet, HDF5 and Kaldi archives.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.errors import ManifestError

Arrays = Mapping[str, np.ndarray]
Found = Iterator[tuple[str, Callable[[], Arrays]]]

KINDS = ("frames", "utterance")
"""Arrays that a clip may have."""


def parquet_entries(folder: Path, file: Path) -> Found:
    """Clips of a Parquet file, a row each with `id`; groups of rows are read when they are needed, one at a time.

    Raises:
        ManifestError: it cannot be read, or a package is missing.
    """
    _need("pyarrow", "parquet", file)
    import pyarrow
    import pyarrow.parquet

    try:
        opened = pyarrow.parquet.ParquetFile(file)
        columns = [name for name in KINDS if name in opened.schema_arrow.names]
        groups = [opened.read_row_group(group, columns=["id"])["id"] for group in range(opened.num_row_groups)]
    except (OSError, KeyError, pyarrow.ArrowInvalid) as error:
        raise ManifestError(f"features {file}: cannot be read as Parquet with a column id: {error}") from error
    if not columns:
        raise ManifestError(f"features {file}: expected a column {' or '.join(KINDS)}")
    group_of = lru_cache(maxsize=1)(partial(_row_group, opened, columns))
    for group, ids in enumerate(groups):
        for row, name in enumerate(ids.to_pylist()):
            yield name, partial(_parquet_row, group_of, group, row)


def _row_group(opened: Any, columns: list[str], group: int) -> Any:
    return opened.read_row_group(group, columns=columns)


def _parquet_row(group_of: Callable[[int], Any], group: int, row: int) -> Arrays:
    rows = group_of(group)
    return {name: _rectangular(rows[name][row]) for name in rows.column_names}


def _rectangular(scalar: Any) -> np.ndarray:
    """An array of lists of ... of numbers."""
    values, shape = scalar.values, [len(scalar.values)]
    while hasattr(values, "flatten") and hasattr(values.type, "value_type"):
        inner = values.flatten()
        shape.append(len(inner) // max(1, len(values)))
        values = inner
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def hdf5_entries(folder: Path, file: Path) -> Found:
    """Clips of an HDF5 file, a group each with its arrays.

    Raises:
        ManifestError: it cannot be read, or a package is missing.
    """
    _need("h5py", "hdf5", file)
    import h5py

    names: list[str] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Group) and any(isinstance(node.get(kind), h5py.Dataset) for kind in KINDS):
            names.append(name)

    try:
        opened = h5py.File(file, "r")
        opened.visititems(visit)
    except OSError as error:
        raise ManifestError(f"features {file}: cannot be read as HDF5: {error}") from error
    return ((name, partial(_hdf5_group, opened, name)) for name in names)


def _hdf5_group(opened: Any, name: str) -> Arrays:
    import h5py

    group = opened[name]
    return {kind: group[kind][...] for kind in KINDS if isinstance(group.get(kind), h5py.Dataset)}


def kaldi_entries(folder: Path, file: Path) -> Found:
    """Matrices that a Kaldi `.scp` names; its archive is looked for beside it, wherever it was written.

    Raises:
        ManifestError: a line is no `key archive:place`.
    """
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        key, _, place = line.strip().partition(" ")
        archive, _, offset = place.rpartition(":")
        if not offset.isdecimal():
            raise ManifestError(f"features {file}:{number}: found {line!r}, expected 'key archive:place'")
        beside = file.with_name(Path(archive).name)
        yield key, partial(_kaldi_matrix, beside if beside.is_file() else Path(archive), int(offset))


def _kaldi_matrix(archive: Path, offset: int) -> Arrays:
    with open(archive, "rb") as stream:
        stream.seek(offset)
        mark, sizes = stream.read(5), stream.read(10)
        if mark != b"\0BFM " or len(sizes) < 10:
            raise ValueError(f"{archive}:{offset}: expected a binary matrix of float32")
        _, rows, _, columns = struct.unpack("<bibi", sizes)
        values = np.frombuffer(stream.read(4 * rows * columns), "<f4")
    matrix = values.reshape(rows, columns)
    return {"frames": matrix} if rows > 1 else {"utterance": matrix[0]}


def _need(package: str, extra: str, file: Path) -> None:
    if find_spec(package) is None:
        raise ManifestError(f"features {file}: needs the package {package}: pip install 'emotion2vec[{extra}]'")
