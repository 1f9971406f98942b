"""Features on their way to a writer: arrays that may come in parts, so that long ones are never held whole.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from emotion2vec.audio.decode import Note


@dataclass(frozen=True)
class ArraySpec:
    """What arrays of a job look like: their shape, None for any number of frames, and their dtype."""

    shape: tuple[int | None, ...]
    dtype: np.dtype

    def fits(self, shape: tuple[int, ...], dtype: np.dtype | None) -> bool:
        """Whether an array of this shape and dtype is one of them."""
        same = all(wanted in (None, found) for wanted, found in zip(self.shape, shape, strict=False))
        return len(shape) == len(self.shape) and same and dtype == self.dtype


Layout = dict[str, ArraySpec]
"""The arrays of every item of a job by name: `frames`, `utterance`, or both in this order."""


@dataclass(frozen=True, eq=False)
class FeatureArray:
    """One array of one item: ([L,] T, D) or ([L,] D).

    Attributes:
        shape: of the whole array.
        dtype: of the whole array.
        parts: the array in pieces along T; they can be taken once. Taking them may run the model.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Iterable[np.ndarray]

    @classmethod
    def of(cls, array: np.ndarray) -> FeatureArray:
        """Wrap a whole array."""
        return cls(array.shape, array.dtype, [array])

    @property
    def nbytes(self) -> int:
        """Size of the whole array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def whole(self) -> np.ndarray:
        """Put the parts together; an array is held whole from here on."""
        parts = list(self.parts)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)

    def in_order(self) -> Iterator[np.ndarray]:
        """The numbers in C order, in pieces; with layers in front, the array is held whole for that."""
        for piece in self.parts if len(self.shape) <= 2 else [self.whole()]:
            yield np.ascontiguousarray(piece)


Arrays = dict[str, FeatureArray]
"""The arrays of one item by name; they must be taken in this order."""


@dataclass(frozen=True, eq=False)
class EncodedAudio:
    """The features of one utterance, on their way to whoever writes or keeps them.

    Attributes:
        index: that of its audio.
        features: its arrays; those of long audio may be computed as their parts are taken.
        seconds: its audio, in s.
        frames: frames T that the model made of it.
        notes: what is to be said of its audio.
    """

    index: int
    features: Arrays
    seconds: float = 0.0
    frames: int = 0
    notes: tuple[Note, ...] = ()
