"""Frames of all clips, packed for training: one after another without padding, handed out in blocks of whole clips.

N: clips. T: frames of all clips together. R: frames of a block. D: channels. W: width of the stored rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion2vec.devices import is_host
from emotion2vec.hardware import best_precision
from emotion2vec.probe.features.table import FeatureTable, nonzero_scale

BLOCK_FRAMES = 2048
"""Frames that go through a layer at once on a CPU, so that they stay in its cache. Blocks are filled up with rows of
zeros to a multiple of this: oneDNN prepares a kernel for every new shape, which takes longer than the product."""

GPU_BLOCK_FRAMES = 1 << 18

WIDTH_STEP = 32
"""Rows are padded to a multiple of this, the depth of a bfloat16 tile; with it the products were faster, not slower."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Block:
    """Some clips' frames.

    Attributes:
        rows: (R, W), clip after clip, then zeros.
        owner: (R,) place within the block of the clip that each frame belongs to, 0 for the zeros.
        firsts: (clips,) row of each clip's first frame.
    """

    rows: Tensor
    owner: Tensor
    firsts: Tensor

    def sums(self, hidden: Tensor) -> Tensor:
        """Sum the rows (R, H) of each clip: (clips, H). What belongs to the zeros goes to the last clip."""
        return functional.embedding_bag(
            torch.arange(len(hidden), device=hidden.device), hidden, self.firsts, mode="sum"
        )


@dataclass(frozen=True, kw_only=True)
class FrameBank:
    """Standardized frames of a whole table on their device, in the precision of the matrix products.

    Attributes:
        rows: (T, W), the D channels (frames − shift) / scale, so that rounding is relative to each channel's own
            spread; then a channel of ones, which takes a bias into the matrix product; then zeros.
        starts: first frame of each clip.
        lengths: (N,) frames of each clip, on the device.
        shift: (D,) float64.
        scale: (D,) float64.
        sums: (N, D) float64, sum of each clip's frames as extracted.
        squares: (N, D) float64, sum of their squares.
        precision: name of the rows' precision.
    """

    rows: Tensor
    starts: tuple[int, ...]
    lengths: Tensor
    shift: np.ndarray
    scale: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    precision: str

    @classmethod
    def of(cls, table: FeatureTable, precision: str, device: str) -> FrameBank:
        """Pack a table's frames once for all folds.

        The statistics of all clips only decide what rounding is relative to: heads take them out again exactly, and
        standardize with the statistics of their training clips, see `moments`.
        """
        assert table.frames is not None, "a head that reads frames sets needs"
        starts = np.cumsum(table.lengths) - table.lengths  # (N,)
        parts = [table.frames[start : start + length] for start, length in zip(starts, table.lengths, strict=True)]
        sums = np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])  # (N, D)
        squares = np.stack([np.einsum("td,td->d", part, part, dtype=np.float64) for part in parts])  # (N, D)
        shift, scale = _moments(sums.sum(0), squares.sum(0), int(table.lengths.sum()))
        channels = table.frames.shape[1]
        width = (channels // WIDTH_STEP + 1) * WIDTH_STEP
        rows = torch.zeros(len(table.frames), width, dtype=PRECISIONS[precision])
        rows[:, channels] = 1
        for start, part in zip(starts, parts, strict=True):
            rows[start : start + len(part), :channels] = torch.from_numpy((part - shift) / scale)
        return cls(
            rows=rows.to(device),
            starts=tuple(starts.tolist()),
            lengths=torch.from_numpy(table.lengths).to(device),
            shift=shift,
            scale=scale,
            sums=sums,
            squares=squares,
            precision=precision,
        )

    @property
    def channels(self) -> int:
        """D."""
        return len(self.shift)

    def moments(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (D,) of the frames of some clips."""
        count = int(self.lengths[torch.from_numpy(clips)].sum())
        return _moments(self.sums[clips].sum(axis=0), self.squares[clips].sum(axis=0), count)

    def blocks(self, clips: Tensor) -> Iterator[Block]:
        """Hand out the clips at these positions, in their order, a few at a time."""
        limit = BLOCK_FRAMES if is_host(self.rows.device) else GPU_BLOCK_FRAMES
        held: list[int] = []
        frames = 0
        for clip, length in zip(clips.tolist(), self.lengths[clips].tolist(), strict=True):
            if held and frames + length > limit:
                yield self._block(held)
                held, frames = [], 0
            held.append(clip)
            frames += length
        yield self._block(held)

    def _block(self, clips: list[int]) -> Block:
        lengths = self.lengths[clips]
        ends = [self.starts[clip] + length for clip, length in zip(clips, lengths.tolist(), strict=True)]
        parts = [self.rows[self.starts[clip] : end] for clip, end in zip(clips, ends, strict=True)]
        frames = sum(map(len, parts))
        padded = -(-frames // BLOCK_FRAMES) * BLOCK_FRAMES
        rows = torch.cat([*parts, self.rows.new_zeros(padded - frames, self.rows.shape[1])])  # (R, W)
        owner = lengths.new_zeros(padded)
        owner[:frames] = torch.repeat_interleave(torch.arange(len(clips), device=rows.device), lengths)
        return Block(rows, owner, lengths.cumsum(0) - lengths)


def native_precision(device: str) -> str:
    """`bf16` where the device is fast at multiplying bfloat16, else `fp32`."""
    return "bf16" if best_precision(torch.device(device)) == "bf16" else "fp32"


def _moments(total: np.ndarray, squares: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    mean = total / count
    return mean, nonzero_scale(mean, np.sqrt(np.maximum(squares / count - mean**2, 0)))
