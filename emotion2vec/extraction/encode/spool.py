"""Features of long audio, kept in a temporary file until they are complete: a failure in the middle writes nothing.

L: layers. T: frames. t: frames of a part. D: channels of a vector.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray

READ_BYTES = 16 * 1024 * 1024
"""What is read back at once."""


def spooled(arrays: Arrays, folder: Path | None) -> Arrays:
    """Compute all parts of an item's arrays, on disk where there are many, and return them to be taken again.

    The temporary file has no name, so nothing is left behind, whatever happens.

    Raises:
        FloatingPointError: a part is not finite.
        OSError: the disk is full.
    """
    return {name: _spool(name, array, folder) for name, array in arrays.items()}


def _spool(name: str, array: FeatureArray, folder: Path | None) -> FeatureArray:
    if name != "frames":
        whole = array.whole()
        _check(whole)
        return FeatureArray.of(whole)
    stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed when nothing refers to the array any longer)
    frames, row = array.shape[-2], array.shape[-1] * array.dtype.itemsize
    start = 0
    for part in array.parts:  # ([L,] t, D)
        _check(part)
        for number, layer in enumerate(part.reshape(-1, *part.shape[-2:])):  # (t, D)
            stream.seek((number * frames + start) * row)
            stream.write(np.ascontiguousarray(layer).data)
        start += part.shape[-2]
    stream.flush()
    return SpooledArray(array.shape, array.dtype, _slices(stream, array.shape, array.dtype), stream)


@dataclass(frozen=True, eq=False)
class SpooledArray(FeatureArray):
    """An array ([L,] T, D) in a temporary file, in C order.

    Attributes:
        stream: the file, which goes when nothing refers to it any longer.
    """

    stream: IO[bytes]

    def whole(self) -> np.ndarray:
        """Read everything, into the one place where it is held."""
        whole = np.empty(self.shape, self.dtype)
        rows, start = whole.reshape(-1, self.shape[-1]), 0  # ([L ·] T, D)
        for piece in self.in_order():
            rows[start : start + len(piece)] = piece
            start += len(piece)
        return whole

    def in_order(self) -> Iterator[np.ndarray]:
        """The rows (t, D) of the file, one layer after the other."""
        return _rows(self.stream, 0, math.prod(self.shape[:-1]), self.shape[-1], self.dtype)


def _slices(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The array in parts ([L,] t, D)."""
    *front, frames, width = shape
    count = max(1, READ_BYTES // (math.prod(front) * width * dtype.itemsize))  # t
    for first in range(0, frames, count):
        layers = [
            next(_rows(stream, number * frames + first, min(count, frames - first), width, dtype))  # (t, D)
            for number in range(math.prod(front))
        ]
        yield np.stack(layers).reshape(*front, -1, width)  # ([L,] t, D)


def _rows(stream: IO[bytes], first: int, count: int, width: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Rows (t, D) of the file from the given one on, piece by piece."""
    row = width * dtype.itemsize
    rows = max(1, READ_BYTES // row)
    for start in range(first, first + count, rows):
        raw = os.pread(stream.fileno(), min(rows, first + count - start) * row, start * row)
        yield np.frombuffer(raw, dtype).reshape(-1, width)


def _check(part: np.ndarray) -> None:
    if not np.isfinite(part).all():
        raise FloatingPointError("not finite")
