"""Reading files of features, one function per format: the clips that a file holds, and what reads each.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

import numpy as np

from emotion2vec.corpora.names import without_suffix
from emotion2vec.documents import check_unpacked
from emotion2vec.errors import ManifestError
from emotion2vec.parquet import open_parquet, read_texts

Arrays = Mapping[str, np.ndarray]
"""Of one clip: `frames` (T, D), `utterance` (P,), or both; what is alone may be either."""

Reader = Callable[[], Arrays]
"""Reads the arrays of one clip."""

Found = Iterator[tuple[str, Reader]]
"""Names in a file, each with what reads its arrays."""

FLETCHER32 = 4
"""Bytes of a check sum in HDF5."""

KINDS = ("frames", "utterance")
"""Arrays that a clip may have, and the ends of their names where each has its own."""


def _npy_entries(folder: Path, file: Path) -> Found:
    name = file.relative_to(folder).as_posix().removesuffix(".npy")
    yield name, lambda: {"frames": np.load(file, mmap_mode="r", allow_pickle=False)}  # never more than the file has


def npz_entries(path: Path) -> Found:
    """Clips of an `.npz`, an array each.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        members = archive.zip.infolist()
    except Exception as error:  # zipfile and NumPy check little of what they read
        raise ManifestError(f"features {path}: cannot be read as .npz: {error}") from error
    for member in members:
        try:
            if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # zipfile unpacks others without a limit
                raise ValueError("is packed as NumPy never packs, expected an array of numpy.savez")
            check_unpacked(member.file_size, member.compress_size)
        except ValueError as error:
            raise ManifestError(f"features {path}: {member.filename!a}: {error}") from error
    return ((key, partial(_member, archive, key, member)) for key, member in zip(archive.files, members, strict=True))


def _member(archive: Any, key: str, member: ZipInfo) -> Arrays:
    with archive.zip.open(member) as stream:
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
    if kind.itemsize * math.prod(shape) > member.file_size:  # room would be made for it
        raise ValueError(f"an array of shape {shape} in {member.file_size:,} bytes")
    return {"frames": archive[key]}


def _safetensors_entries(folder: Path, file: Path) -> Found:
    name = file.relative_to(folder).as_posix().removesuffix(".safetensors")

    def read() -> Arrays:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(file)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if len(tensors) == 1:
            return {"frames": next(iter(tensors.values()))}
        return {key: tensors[key] for key in KINDS}

    yield name, read


def _recipe_entries(folder: Path, path: Path) -> Found:
    """Frames of all clips in one array, cut by a file of lengths and named by a file of names."""
    names = next((path.with_suffix(end) for end in (".tsv", ".emo") if path.with_suffix(end).is_file()), None)
    if names is None or not path.with_suffix(".npy").is_file():
        raise ManifestError(f"features {path}: expected beside it {path.stem}.npy, and {path.stem}.tsv or .emo")
    try:
        counts = [int(line) for line in path.read_text(encoding="utf-8").split()]
        lines = [line for line in names.read_text(encoding="utf-8").split("\n") if line.strip()]
    except ValueError as error:
        raise ManifestError(f"features {path}: cannot be read: {error}") from error
    if names.suffix == ".tsv" and len(lines) == len(counts) + 1:
        lines = lines[1:]  # a fairseq manifest starts with its root
    rows = [line.split("\t")[0] if "\t" in line else line.split()[0] for line in lines]
    try:
        frames = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy checks little of what it reads
        raise ManifestError(f"features {path.with_suffix('.npy')}: cannot be read: {error}") from error
    if frames.ndim != 2 or min(counts, default=0) < 0:
        raise ManifestError(f"features {path}: expected counts of rows of an array of two dimensions")
    if len(rows) != len(counts) or sum(counts) != len(frames):
        raise ManifestError(
            f"features {path}: {len(rows)} names, {len(counts)} lengths of {sum(counts)} frames together, and "
            f"{len(frames)} frames in {path.stem}.npy; expected them to agree"
        )
    for row, end, count in zip(rows, np.cumsum(counts).tolist(), counts, strict=True):
        yield (without_suffix(row) if names.suffix == ".tsv" else row), partial(_cut, frames, end - count, end)


def _cut(frames: np.ndarray, start: int, end: int) -> Arrays:
    return {"frames": frames[start:end]}


def _parquet_entries(folder: Path, file: Path) -> Found:
    """Clips of a Parquet file, a row each with `id`; groups of rows are read when they are needed, one at a time.

    Raises:
        ManifestError: it cannot be read, or a package is missing.
    """
    _need("pyarrow", "parquet", file)

    try:
        stream = open(file, "rb")  # noqa: SIM115 (read from when features are asked for)
        opened = open_parquet(stream, KINDS, ["id"])
        columns = [name for name in KINDS if name in opened.schema_arrow.names]
        groups = read_texts(opened, "id", file.stat().st_size)
    except Exception as error:  # it checks little of what it reads
        raise ManifestError(f"features {file}: cannot be read as Parquet with a column id: {error}") from error
    if not columns:
        raise ManifestError(f"features {file}: expected a column {' or '.join(KINDS)}")
    group_of = lru_cache(maxsize=1)(partial(_row_group, opened, columns))
    for group, names in enumerate(groups):
        for row, name in enumerate(names):
            yield name, partial(_parquet_row, group_of, group, row)


def _row_group(opened: Any, columns: list[str], group: int) -> Any:
    return opened.read_row_group(group, columns=columns)


def _parquet_row(group_of: Callable[[int], Any], group: int, row: int) -> Arrays:
    rows = group_of(group)
    return {name: _rectangular(rows[name][row]) for name in rows.column_names}


def _rectangular(scalar: Any) -> np.ndarray:
    """An array of lists of ... of numbers."""
    if not scalar.is_valid:
        raise ValueError("there is nothing in its row, expected lists of numbers")
    values, shape = scalar.values, [len(scalar.values)]
    while hasattr(values, "flatten") and hasattr(values.type, "value_type"):
        inner = values.flatten()
        shape.append(len(inner) // max(1, len(values)))
        values = inner
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _hdf5_entries(folder: Path, file: Path) -> Found:
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
    except Exception as error:  # it checks little of what it reads
        raise ManifestError(f"features {file}: cannot be read as HDF5: {error}") from error
    return ((name, partial(_hdf5_group, opened, name)) for name in names)


def _hdf5_group(opened: Any, name: str) -> Arrays:
    import h5py

    group = opened[name]
    inside = [kind for kind in KINDS if isinstance(group.get(kind, getlink=True), h5py.HardLink)]
    arrays = {kind: group[kind] for kind in inside if isinstance(group[kind], h5py.Dataset)}
    for kind, array in arrays.items():
        if array.external or array.is_virtual:
            raise ValueError(f"{name}/{kind} lies in another file, expected it in this one")
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name}/{kind} holds {array.dtype}, expected numbers")
        check_unpacked(array.nbytes, array.id.get_storage_size())
        _check_chunks(array)
    return {kind: array[...] for kind, array in arrays.items()}


def _check_chunks(array: Any) -> None:
    """See to it that the packed pieces of an HDF5 array are no larger than it says, for which its reader makes room.

    Raises:
        ValueError: they are, or are packed otherwise than by gzip.
    """
    from h5py import h5z

    about = array.id.get_create_plist()
    filters = [about.get_filter(number)[0] for number in range(about.get_nfilters())]
    known = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
    if not known.issuperset(filters) or len(set(filters)) < len(filters):
        raise ValueError(f"{array.name} is packed by the filters {filters} of HDF5, expected gzip or none")
    if h5z.FILTER_DEFLATE not in filters:
        return
    most = array.dtype.itemsize * math.prod(array.chunks) + FLETCHER32
    for number in range(array.id.get_num_chunks()):
        _, packed = array.id.read_direct_chunk(array.id.get_chunk_info(number).chunk_offset)
        if len(zlib.decompressobj().decompress(packed, most + 1)) > most:
            raise ValueError(f"{array.name} has a piece that unpacks to more than the {most:,} bytes that it says")


def _kaldi_entries(folder: Path, file: Path) -> Found:
    """Matrices that a Kaldi `.scp` names; its archive is looked for beside it, wherever it was written.

    Raises:
        ManifestError: a line is no `key archive:place`.
    """
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        key, _, place = line.strip().partition(" ")
        archive, _, offset = place.rpartition(":")
        if not offset.isdecimal():
            raise ManifestError(f"features {file}:{number}: found {line!r}, expected 'key archive:place'")
        beside = file.with_name(Path(archive).name)
        yield key, partial(_kaldi_matrix, beside if beside.is_file() else Path(archive), int(offset))


def _lines(file: Path) -> list[str]:
    """Lines of an index; names of archives in it may be no Unicode."""
    return file.read_bytes().decode("utf-8", "surrogateescape").split("\n")


def _kaldi_matrix(archive: Path, offset: int) -> Arrays:
    with open(archive, "rb") as stream:
        stream.seek(offset)
        mark, sizes = stream.read(5), stream.read(10)
        if mark != b"\0BFM " or len(sizes) < 10:
            raise ValueError(f"{archive}:{offset}: expected a binary matrix of float32")
        _, rows, _, columns = struct.unpack("<bibi", sizes)
        if rows < 1 or columns < 1 or 4 * rows * columns > archive.stat().st_size:
            raise ValueError(f"{archive}:{offset}: a matrix of {rows} x {columns} is not there")
        values = np.frombuffer(stream.read(4 * rows * columns), "<f4")
    matrix = values.reshape(rows, columns)
    return {"frames": matrix} if rows > 1 else {"utterance": matrix[0]}


def _need(package: str, extra: str, file: Path) -> None:
    if find_spec(package) is None:
        raise ManifestError(f"features {file}: needs the package {package}: pip install 'emotion2vec[{extra}]'")


FORMATS: dict[str, tuple[str, Callable[[Path, Path], Found]]] = {
    "iemocap": ("*.lengths", _recipe_entries),
    "npy": ("**/*.npy", _npy_entries),
    "npz": ("*.npz", lambda folder, file: npz_entries(file)),
    "safetensors": ("**/*.safetensors", _safetensors_entries),
    "parquet": ("*.parquet", _parquet_entries),
    "hdf5": ("*.h5", _hdf5_entries),
    "kaldi": ("*.scp", _kaldi_entries),
}
"""Files of each format, and what lists the names in one."""
