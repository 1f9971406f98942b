"""Features on disk until their time comes: long ones until they are complete, others until it is their turn.

L: layers. T: frames. t: frames of a part. D: channels of a vector.
"""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray
from emotion2vec.places import read_at, write_at

READ_BYTES = 16 * 1024 * 1024
"""What is read back at once."""

SEGMENT_BYTES = 1 << 30
"""A temporary file that holds this much gets nothing more; it goes when nothing that it holds is wanted any longer."""


class Spool:
    """Temporary files for the features of one job. They have no names, so nothing is left behind, whatever happens.

    Args:
        folder: where they lie; None for the system's place.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._size = 0

    def keep(self, arrays: Arrays) -> Arrays:
        """Compute all parts of an item's arrays, and return them to be taken again, once: all but vectors from disk.

        Raises:
            FloatingPointError: a part is not finite.
            OSError: the disk is full.
        """
        return {name: self._keep(array) for name, array in arrays.items()}

    def _keep(self, array: FeatureArray) -> FeatureArray:
        if isinstance(array, SpooledArray):
            return array
        if len(array.shape) < 2:
            whole = array.whole()
            _check(whole)
            return FeatureArray.of(whole)
        stream, offset = self._reserve(array.nbytes)
        frames, row = array.shape[-2], array.shape[-1] * array.dtype.itemsize
        start = 0
        for part in array.parts:  # ([L,] t, D)
            _check(part)
            for number, layer in enumerate(part.reshape(-1, *part.shape[-2:])):  # (t, D)
                _write(stream, np.ascontiguousarray(layer), offset + (number * frames + start) * row)
            start += part.shape[-2]
        parts = _slices(stream, offset, array.shape, array.dtype)
        return SpooledArray(array.shape, array.dtype, parts, stream, offset)

    def _reserve(self, size: int) -> tuple[IO[bytes], int]:
        """A file, and the place in it where so many bytes are going to lie; several threads may ask."""
        with self._lock:
            if self._stream is None or self._size >= SEGMENT_BYTES:
                self._stream = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed when nothing refers to it)
                self._size = 0
            offset, self._size = self._size, self._size + size
            return self._stream, offset


@dataclass(frozen=True, eq=False)
class SpooledArray(FeatureArray):
    """An array ([L,] T, D) in a temporary file, in C order.

    Attributes:
        stream: the file, which goes when nothing refers to it any longer.
        offset: its first byte there.
    """

    stream: IO[bytes]
    offset: int

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
        return _rows(self.stream, self.offset, math.prod(self.shape[:-1]), self.shape[-1], self.dtype)


def _slices(stream: IO[bytes], offset: int, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The array in parts ([L,] t, D)."""
    *front, frames, width = shape
    row = width * dtype.itemsize
    count = max(1, READ_BYTES // (math.prod(front) * row))  # t
    for first in range(0, frames, count):
        layers = [
            next(_rows(stream, offset + (number * frames + first) * row, min(count, frames - first), width, dtype))
            for number in range(math.prod(front))
        ]
        yield np.stack(layers).reshape(*front, -1, width)  # ([L,] t, D)


def _rows(stream: IO[bytes], offset: int, count: int, width: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Rows (t, D) of the file from the given byte on, piece by piece."""
    row = width * dtype.itemsize
    rows = max(1, READ_BYTES // row)
    for start in range(0, count, rows):
        raw = read_at(stream.fileno(), min(rows, count - start) * row, offset + start * row)
        yield np.frombuffer(raw, dtype).reshape(-1, width)


def _write(stream: IO[bytes], array: np.ndarray, offset: int) -> None:
    """Write an array to a place of the file, whatever others write beside it."""
    left = memoryview(array.data).cast("B")
    while left:
        written = write_at(stream.fileno(), left, offset)
        left, offset = left[written:], offset + written


def _check(part: np.ndarray) -> None:
    if not np.isfinite(part).all():
        raise FloatingPointError("not finite")
