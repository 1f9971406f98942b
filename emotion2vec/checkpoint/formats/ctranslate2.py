"""The container of CTranslate2, `model.bin`: named arrays in the order of a model's specification (its version 6).

Every text is a length of 2 bytes and so many bytes, the last of them zero; every number is little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint.budget import check_shape
from emotion2vec.checkpoint.mapped import MappedFile
from emotion2vec.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FILE = "model.bin"
VERSION = 6
_DTYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
"""By their numbers in the file."""
_LONGEST_NAME = 1000
_MOST_DIMENSIONS = 8


class _Cursor:
    """Reads a mapped file from its start; every step is checked against the file's size."""

    def __init__(self, file: MappedFile, path: Path):
        self._file, self._path, self.at = file, path, 0

    def bytes(self, count: int) -> bytes:
        self.skip(count)
        return self._file.pages[self.at - count : self.at]

    def skip(self, count: int) -> None:
        if self.at + count > len(self._file):
            raise CheckpointError(
                f"{self._path}: {len(self._file):,} bytes, but what starts at byte {self.at:,} has {count:,} more: "
                "truncated? (a second part may have to be appended)"
            )
        self.at += count

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))[0])

    def text(self) -> str:
        size = self.number("H")
        raw = self.bytes(size)
        if not 1 < size <= _LONGEST_NAME or raw[-1:] != b"\0" or not raw[:-1].isascii():
            raise CheckpointError(f"{self._path}: no name at byte {self.at - size:,}, expected CTranslate2's model.bin")
        return raw[:-1].decode("ascii")


def is_model(path: Path) -> bool:
    """Whether a file is there and starts like a `model.bin`: a small version, then a name that ends in `Spec`."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(6 + _LONGEST_NAME)
    if len(start) < 8 or not 1 <= int.from_bytes(start[:4], "little") <= 16:
        return False
    size = int.from_bytes(start[4:6], "little")
    return start[6 : 6 + size].endswith(b"Spec\0")


def read_variables(path: Path) -> tuple[str, dict[str, Tensor], Callable[[], None]]:
    """Read a `model.bin`; its arrays are mapped, not copied.

    Returns:
        The specification's name, arrays by name, and what gives the memory of mapped pages back.

    Raises:
        CheckpointError: it is truncated, damaged, or of another version.
    """
    import torch

    file = MappedFile(path)
    cursor = _Cursor(file, path)
    if (version := cursor.number("I")) != VERSION:
        raise CheckpointError(f"{path}: version of CTranslate2's format is {version}, expected {VERSION}")
    spec = cursor.text()
    cursor.number("I")  # the specification's revision, which has no bearing on encoders
    variables: dict[str, Tensor] = {}
    for _ in range(cursor.number("I")):
        name, rank = cursor.text(), cursor.number("B")
        if rank > _MOST_DIMENSIONS:
            raise CheckpointError(f"{path}: {name} has {rank} dimensions, expected at most {_MOST_DIMENSIONS}")
        shape = [cursor.number("I") for _ in range(rank)]
        kind, size = cursor.number("B"), cursor.number("I")
        if kind >= len(_DTYPES):
            raise CheckpointError(f"{path}: {name} is of type {kind}, expected 0 to {len(_DTYPES) - 1}")
        dtype = getattr(torch, _DTYPES[kind])
        check_shape(shape, size // dtype.itemsize)
        if math.prod(shape) * dtype.itemsize != size or max(shape, default=0) > len(file):
            raise CheckpointError(f"{path}: {name} of shape {shape} in {_DTYPES[kind]} has {size} bytes")
        start = cursor.at
        cursor.skip(size)
        variables[name] = file.numbers(dtype, start, math.prod(shape)).view(shape)
    for _ in range(cursor.number("I")):  # arrays of the same numbers are kept once
        name, target = cursor.text(), cursor.text()
        if target not in variables:
            raise CheckpointError(f"{path}: {name} is another name of {target}, which is not there")
        variables[name] = variables[target]
    return spec, variables, file.release
