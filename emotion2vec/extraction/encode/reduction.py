"""Frames of one item, window by window -> what is kept of them: vectors at a lower rate, and a summary over time.

L: layers. T: frames of the item. t: frames of a window. D: model width. N: utterance tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray, Layout
from emotion2vec.extraction.encode.choices import FeatureChoice


@dataclass(frozen=True, eq=False)
class Piece:
    """What one window of an item contributes.

    Attributes:
        count: its frames t.
        frames: (L, t, D) float32, if frames are kept.
        sums: (L, D) float64 sums of the frames, if a summary is kept.
        squares: (L, D) float64 sums of their squares, if their deviation is kept.
        tokens: (N, D) float32 outputs at the utterance tokens, if they are kept.
    """

    count: int
    frames: np.ndarray | None
    sums: np.ndarray | None
    squares: np.ndarray | None
    tokens: np.ndarray | None


class Reduction:
    """Takes the pieces of one item in order; the frames leave it in parts, the summary at the end."""

    def __init__(self, choice: FeatureChoice, layout: Layout, stacked: bool, pieces: Iterator[Piece], frames: int):
        self._choice = choice
        self._layout = layout
        self._stacked = stacked
        self._pieces = pieces
        self._frames = frames
        self._count = 0
        self._sums: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0
        self._tokens: np.ndarray | float = 0.0

    def arrays(self) -> Arrays:
        """The item's arrays, whose parts come as the pieces are taken."""
        arrays: Arrays = {}
        for name, spec in self._layout.items():
            parts = self._frame_parts() if name == "frames" else self._utterance_part()
            vectors = self._choice.vectors(self._frames)
            arrays[name] = FeatureArray(tuple(vectors if n is None else n for n in spec.shape), spec.dtype, parts)
        return arrays

    def _frame_parts(self) -> Iterator[np.ndarray]:
        """Vectors (L, t', D) or (t', D), downsampled across the borders of pieces."""
        step, held = self._choice.downsample, None
        for piece in self._taken():
            assert piece.frames is not None
            frames = piece.frames if held is None else np.concatenate([held, piece.frames], axis=1)  # (L, t, D)
            whole = frames.shape[1] // step * step
            held = frames[:, whole:] if step > 1 else None
            if whole:
                yield self._finish(self._downsample(frames[:, :whole]), "frames")
        if held is not None and held.shape[1]:
            yield self._finish(self._downsample(held), "frames")

    def _downsample(self, frames: np.ndarray) -> np.ndarray:
        """Turn every `downsample` frames of (L, t, D), or all if they are fewer, into one."""
        step = min(self._choice.downsample, frames.shape[1])
        if step == 1:
            return frames
        grouped = frames.reshape(frames.shape[0], -1, step, frames.shape[2])  # (L, t', step, D)
        return grouped[:, :, 0] if self._choice.downsample_by == "skip" else grouped.mean(axis=2)

    def _utterance_part(self) -> Iterator[np.ndarray]:
        """The summary over all pieces, those that the frames took included."""
        for _ in self._taken():
            pass
        if self._choice.pooling == "tokens":
            yield np.asarray(self._tokens / self._count).astype(self._layout["utterance"].dtype)
            return
        mean = self._sums / self._count  # (L, D)
        if self._choice.pooling == "mean+std":
            variance = np.maximum(self._squares / self._count - mean * mean, 0.0)
            mean = np.concatenate([mean, np.sqrt(variance)], axis=1)  # (L, 2 D)
        yield self._finish(np.asarray(mean), "utterance")

    def _taken(self) -> Iterator[Piece]:
        for piece in self._pieces:
            self._count += piece.count
            if piece.sums is not None:
                self._sums = self._sums + piece.sums
            if piece.squares is not None:
                self._squares = self._squares + piece.squares
            if piece.tokens is not None:
                self._tokens = self._tokens + piece.count * piece.tokens.astype(np.float64)
            yield piece

    def _finish(self, array: np.ndarray, name: str) -> np.ndarray:
        """Drop a layer dimension that is not kept, and convert."""
        return (array if self._stacked else array[0]).astype(self._layout[name].dtype, copy=False)
