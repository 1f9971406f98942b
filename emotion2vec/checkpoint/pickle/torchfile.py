"""Files of `torch.save`, zip archives and the older plain ones: mapped into memory, read without running anything."""

from __future__ import annotations

import io
import math
import mmap
import re
import struct
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from emotion2vec.checkpoint.budget import (
    MOST_DIRECTORY,
    MOST_MEMBERS,
    MOST_PICKLE,
    MOST_TIMES,
    Budget,
    check_shape,
)
from emotion2vec.checkpoint.mapped import MappedFile
from emotion2vec.checkpoint.pickle.unpickle import DamagedPickle, read_pickle
from emotion2vec.errors import CheckpointError

_DTYPES = {
    "Float": torch.float32,
    "Half": torch.float16,
    "Double": torch.float64,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


@dataclass
class TorchFile:
    """What a file of `torch.save` holds; its tensors lie in the mapped file.

    Attributes:
        content: the saved object: containers, numbers, tensors and inert records.
        file: the mapped file.
    """

    content: Any
    file: MappedFile


@dataclass(frozen=True)
class _Storage:
    """Where a storage lies in the file."""

    dtype: torch.dtype
    offset: int
    count: int


class _Storages:
    """Builds storages and tensors over the mapped file, given where each key's bytes start and how many there are."""

    def __init__(self, file: MappedFile, places: dict[str, tuple[int, int]] | None):
        self.file = file
        self.places = places
        self._numbers: dict[_Storage, Tensor] = {}
        self._room = MOST_TIMES * len(file)

    def storage(self, dtype_name: str, key: str, count: int) -> _Storage:
        dtype = _DTYPES[dtype_name]
        if self.places is None:  # the places are not known yet
            return _Storage(dtype, 0, 0)
        offset, size = self.places[key]
        if count * dtype.itemsize > size or offset + size > len(self.file):
            raise ValueError(f"storage {key} has {count} numbers of {dtype.itemsize} bytes, the file {size} bytes")
        return _Storage(dtype, offset, count)

    def tensor(self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor | None:
        if self.places is None:
            return None
        if not isinstance(storage, _Storage) or len(size) != len(stride):
            raise ValueError("a tensor without storage or strides")
        check_shape(size, storage.count)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        count = math.prod(size)
        # A tensor with stride 0 is larger than what the file holds: a few bytes could ask for any amount of memory.
        if count and (last >= storage.count or count > storage.count):
            raise ValueError(f"a tensor of shape {size} in a storage of {storage.count} numbers")
        if count == 0:
            return torch.empty(size, dtype=storage.dtype)
        self._room -= count * storage.dtype.itemsize
        if self._room < 0:
            raise ValueError(f"tensors that share their numbers, more than {MOST_TIMES} times those of the file")
        if storage not in self._numbers:
            self._numbers[storage] = self.file.numbers(storage.dtype, storage.offset, storage.count)
        return self._numbers[storage].as_strided(size, stride, offset)


def read_torch_file(path: Path) -> TorchFile:
    """Read what `torch.save` wrote.

    Raises:
        CheckpointError: it is no such file, it is damaged, or it wants something run.
    """
    if not path.stat().st_size:
        raise CheckpointError(f"{path}: is empty, expected a checkpoint")
    file = MappedFile(path)
    if file.pages[:2] != b"PK":
        return TorchFile(_read_legacy(path, file), file)
    with _InPieces(path) as stream:
        return TorchFile(_read_zip(path, stream, file), file)


class _InPieces(io.BufferedReader):
    """A file of which `zipfile` reads no more at once than what an archive may say of its members."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io.BufferedReader`."""
        if size is not None and size > MOST_DIRECTORY:
            raise ValueError(f"it names its members in {size:,} bytes, expected at most {MOST_DIRECTORY:,}")
        return super().read(size)


def _read_zip(path: Path, stream: IO[bytes], file: MappedFile) -> Any:
    try:
        archive = zipfile.ZipFile(stream)
        entries = archive.infolist()
        root = _check_entries(path, entries)
        description = archive.read(f"{root}/data.pkl")
        order = archive.read(f"{root}/byteorder") if f"{root}/byteorder" in archive.namelist() else b"little"
    except CheckpointError:
        raise
    except Exception as error:  # zipfile checks little of what it reads
        raise CheckpointError(f"{path}: {len(file):,} bytes that are no complete zip ({error}); truncated?") from error
    if order != b"little":
        raise CheckpointError(f"{path}: byte order is {order!a}, expected little")
    prefix = f"{root}/data/"
    places = {
        entry.filename.removeprefix(prefix): (_start_of(path, entry, file.pages), entry.file_size)
        for entry in entries
        if entry.filename.startswith(prefix)
    }
    storages = _Storages(file, places)
    return read_pickle(io.BytesIO(description), str(path), storages.storage, storages.tensor, Budget())


# What torch.save puts beside data.pkl and data/; anything else is no plain checkpoint.
_ENTRY = re.compile(
    r"data\.pkl|data/\w+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id"
)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> str:
    """Find the folder that all entries lie in, and refuse archives that are no plain checkpoint.

    Nothing is ever unpacked; strange names are refused all the same, since no honest checkpoint has them.
    """
    if len(entries) > MOST_MEMBERS:
        raise CheckpointError(f"{path}: has {len(entries):,} members, expected at most {MOST_MEMBERS:,}")
    names = [entry.filename for entry in entries]
    root = names[0].partition("/")[0] if names else ""
    if f"{root}/constants.pkl" in names:
        raise CheckpointError(f"{path}: is a TorchScript archive, which holds code; expected weights of torch.save")
    faults = [
        f"{entry.orig_filename[:100]!a} is no part of a checkpoint"
        for entry in entries
        if not entry.filename.startswith(f"{root}/") or not _ENTRY.fullmatch(entry.filename[len(root) + 1 :])
    ]
    faults += [
        f"{entry.filename[:100]!a} is compressed or encrypted"
        for entry in entries
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size
    ]
    faults += [f"{name[:100]!a} is there twice" for name, count in sorted(Counter(names).items()) if count > 1]
    large = [entry for entry in entries if entry.filename in (f"{root}/data.pkl", f"{root}/byteorder")]
    faults += [f"{entry.filename!a} is too large" for entry in large if entry.file_size > MOST_PICKLE]
    if root in ("", ".", ".."):
        faults.append(f"the entries lie in {root!a}")
    if f"{root}/data.pkl" not in names:
        faults.append("data.pkl is missing")
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:20])
        raise CheckpointError(f"{path}: is a zip archive, but not one of torch.save:\n{shown}")
    return root


def _start_of(path: Path, entry: zipfile.ZipInfo, pages: mmap.mmap) -> int:
    """Where the bytes of an entry start, from its local header, which must name the same entry."""
    header = pages[entry.header_offset : entry.header_offset + 30]
    if len(header) == 30 and header[:4] == b"PK\x03\x04":
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        name = pages[entry.header_offset + 30 : entry.header_offset + 30 + name_size]
        if name == entry.filename.encode("utf-8", "surrogatepass"):
            return entry.header_offset + 30 + name_size + extra_size
    raise CheckpointError(f"{path}: the zip archive is damaged at {entry.filename[:100]!a}")


def _read_legacy(path: Path, file: MappedFile) -> Any:
    """Read PyTorch's format before 1.6: magic number, version, system, object, keys, then storage after storage.

    The storages' places are known only after the object, which is therefore read twice.
    """
    unplaced, budget = _Storages(file, None), Budget()
    stream: Any = file.pages  # which reads no more than there is, whatever length a text claims

    def read(storages: _Storages = unplaced) -> Any:
        return read_pickle(stream, str(path), storages.storage, storages.tensor, budget)

    try:
        magic = read()
    except DamagedPickle as error:
        raise CheckpointError(f"{path}: {_what(file.pages)}, expected a checkpoint") from error
    if magic != _LEGACY_MAGIC or read() != _LEGACY_VERSION:
        raise CheckpointError(f"{path}: is a pickle that torch.save did not write, expected a checkpoint")
    system = read()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{path}: was written with another byte order, expected little-endian")
    start = stream.tell()
    sizes: dict[str, int] = {}

    def note(dtype_name: str, key: str, count: int) -> _Storage:
        sizes[key] = _DTYPES[dtype_name].itemsize
        return unplaced.storage(dtype_name, key, count)

    read_pickle(stream, str(path), note, unplaced.tensor, budget)
    keys = read()
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, keys if isinstance(keys, list) else []):
        size = int.from_bytes(stream.read(8), "little") * sizes.get(key, 1)
        if stream.tell() + size > len(file):
            raise CheckpointError(
                f"{path}: {len(file):,} bytes, but what starts at byte {stream.tell():,} has {size:,} more: truncated?"
            )
        places[key] = (stream.tell(), size)
        stream.seek(size, io.SEEK_CUR)
    stream.seek(start)
    return read(_Storages(file, places))


def _what(pages: mmap.mmap) -> str:
    """Say what a file that is no checkpoint may be."""
    if pages[:20] == b"version https://git-":
        return "is a Git LFS pointer in place of the file (fetch it with `git lfs pull`)"
    if pages[:64].lstrip()[:1] == b"<":
        return "is a web page or XML in place of the file"
    return f"{len(pages):,} bytes of no known kind (they start with {pages[:8]!a})"
