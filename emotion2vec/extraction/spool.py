"""Features of long audio, kept in a temporary file until they are complete: a failure in the middle writes nothing.

T: frames.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from emotion2vec.extraction.arrays import Arrays, FeatureArray

READ_BYTES = 16 * 1024 * 1024
"""What is read back at once."""


def spooled(arrays: Arrays, folder: Path | None) -> Arrays:
    """Compute all parts of an item's arrays, on disk where there are many, and return them to be taken again.

    The temporary file has no name, so nothing is left behind, whatever happens.

    Raises:
        FloatingPointError: a part is not finite.
        OSError: the disk is full.
    """
    return {name: _spool(array, folder) for name, array in arrays.items()}


def _spool(array: FeatureArray, folder: Path | None) -> FeatureArray:
    if len(array.shape) != 2:
        whole = array.whole()
        _check(whole)
        return FeatureArray.of(whole)
    stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed when the last part has been read)
    for part in array.parts:
        _check(part)
        stream.write(np.ascontiguousarray(part).data)
    stream.flush()
    return FeatureArray(array.shape, array.dtype, _read_back(stream, array))


def _read_back(stream: IO[bytes], array: FeatureArray) -> Iterator[np.ndarray]:
    """The rows of (T, D) from the file, piece by piece."""
    with stream:
        row = array.shape[1] * array.dtype.itemsize
        rows = max(1, READ_BYTES // row)
        for first in range(0, array.shape[0], rows):
            raw = os.pread(stream.fileno(), min(rows, array.shape[0] - first) * row, first * row)
            yield np.frombuffer(raw, array.dtype).reshape(-1, array.shape[1])


def _check(part: np.ndarray) -> None:
    if not np.isfinite(part).all():
        raise FloatingPointError("not finite")
