"""Frames of all clips, packed for training: one after another without padding, handed out in blocks of whole clips.

`mean_hidden` is the first layer of `FrameMlp` and the mean over time on them, faster than on padded frames.

N: clips. T: frames of all clips together. R: frames of a block. B: clips of a batch. D: channels. W: width of the
stored rows. H: hidden width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from emotion2vec.devices import is_host
from emotion2vec.hardware import best_precision
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.tasks.scaling import Scaling

BLOCK_FRAMES = 2048
"""Frames in bfloat16 that go through a layer at once on a CPU, so that they stay in its cache. Blocks are filled up
with rows of zeros to a multiple of this: oneDNN prepares a kernel for every new shape, which takes longer than the
product. In float32 a CPU takes each clip where it lies, which saves the copying."""

GPU_BLOCK_FRAMES = 1 << 18

WIDTH_STEPS = {torch.float32: 8, torch.bfloat16: 32}
"""Rows are padded to a multiple of this: a vector of AVX2, and the depth of a bfloat16 tile."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Block:
    """Some clips' frames.

    Attributes:
        rows: (R, W), clip after clip, then zeros.
        clips: how many clips.
        owner: (R,) place within the block of the clip that each frame belongs to, 0 for the zeros; None where the block
            is the frames of one clip and nothing else.
        firsts: (clips,) row of each clip's first frame; None likewise.
    """

    rows: Tensor
    clips: int
    owner: Tensor | None = None
    firsts: Tensor | None = None

    def sums(self, hidden: Tensor) -> Tensor:
        """Sum the rows (R, H) of each clip: (clips, H). What belongs to the zeros goes to the last clip."""
        if self.firsts is None:
            return hidden.sum(0, keepdim=True)
        return functional.embedding_bag(
            torch.arange(len(hidden), device=hidden.device), hidden, self.firsts, mode="sum"
        )

    def spread(self, of_clips: Tensor) -> Tensor:
        """Give each row what its clip has (clips, H): (R, H), not to be written to where there is one clip."""
        return of_clips.expand(len(self.rows), -1) if self.owner is None else of_clips.index_select(0, self.owner)


@dataclass(frozen=True, kw_only=True)
class FrameBank:
    """Standardized frames of a whole table on their device, in the precision of the matrix products.

    Attributes:
        rows: (T, W), the D channels scaled, so that rounding is relative to each channel's own
            spread; then a channel of ones, which takes a bias into the matrix product; then zeros.
        starts: first frame of each clip.
        lengths: (N,) frames of each clip, on the device.
        scaling: of the rows, (D,).
        sums: (N, D) float64, sum of each clip's frames as extracted.
        squares: (N, D) float64, sum of their squares.
        precision: name of the rows' precision.
    """

    rows: Tensor
    starts: tuple[int, ...]
    lengths: Tensor
    scaling: Scaling
    sums: np.ndarray
    squares: np.ndarray
    precision: str

    @classmethod
    def of(cls, table: FeatureTable, precision: str, device: str) -> FrameBank:
        """Pack a table's frames once for all folds.

        The statistics of all clips only decide what rounding is relative to: heads take them out again exactly, and
        standardize with the statistics of their training clips, see `scaling_over`.
        """
        assert table.frames is not None, "a head that reads frames sets needs"
        starts = np.cumsum(table.lengths) - table.lengths  # (N,)
        parts = [table.frames[start : start + length] for start, length in zip(starts, table.lengths, strict=True)]
        sums = np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])  # (N, D)
        squares = np.stack([np.einsum("td,td->d", part, part, dtype=np.float64) for part in parts])  # (N, D)
        scaling = Scaling.of_sums(sums.sum(0), squares.sum(0), int(table.lengths.sum()))
        channels = table.frames.shape[1]
        dtype = PRECISIONS[precision]
        width = (channels // WIDTH_STEPS[dtype] + 1) * WIDTH_STEPS[dtype]
        rows = torch.zeros(len(table.frames), width, dtype=dtype)
        rows[:, channels] = 1
        for start, part in zip(starts, parts, strict=True):
            rows[start : start + len(part), :channels] = torch.from_numpy((part - scaling.shift) / scaling.scale)
        return cls(
            rows=rows.to(device),
            starts=tuple(starts.tolist()),
            lengths=torch.from_numpy(table.lengths).to(device),
            scaling=scaling,
            sums=sums,
            squares=squares,
            precision=precision,
        )

    @property
    def channels(self) -> int:
        """D."""
        return len(self.scaling.shift)

    def scaling_over(self, clips: np.ndarray) -> Scaling:
        """What standardizes frames over some clips."""
        count = int(self.lengths[torch.from_numpy(clips)].sum())
        return Scaling.of_sums(self.sums[clips].sum(axis=0), self.squares[clips].sum(axis=0), count)

    def standardization(self, scaling: Scaling | None) -> tuple[Tensor, Tensor]:
        """Gain and offset (D,) that turn rows into frames that are standardized, or as extracted; float32."""
        shift, scale = (0.0, 1.0) if scaling is None else (scaling.shift, scaling.scale)
        parts = self.scaling.scale / scale, (self.scaling.shift - shift) / scale
        gain, offset = (torch.from_numpy(part).float().to(self.rows.device) for part in parts)
        return gain, offset

    def padded(self, clips: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, D), rows · gain + offset, of the clips at these positions, and their padding (B, T)."""
        lengths = self.lengths[clips]  # (B,)
        rows = [
            self.rows[self.starts[clip] : self.starts[clip] + length, : self.channels]
            for clip, length in zip(clips.tolist(), lengths.tolist(), strict=True)
        ]
        frames = pad_sequence([part * gain + offset for part in rows], batch_first=True)
        return frames, torch.arange(frames.shape[1], device=frames.device) >= lengths.unsqueeze(1)

    def blocks(self, clips: Tensor) -> Iterator[Block]:
        """Hand out the clips at these positions, in their order, a few at a time or each where it lies."""
        if is_host(self.rows.device) and self.rows.dtype == torch.float32:
            for clip, length in zip(clips.tolist(), self.lengths[clips].tolist(), strict=True):
                yield Block(self.rows[self.starts[clip] : self.starts[clip] + length], 1)
            return
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
        return Block(rows, len(clips), owner, lengths.cumsum(0) - lengths)


def native_precision(device: str) -> str:
    """`bf16` where the device is fast at multiplying bfloat16, else `fp32`."""
    return "bf16" if best_precision(torch.device(device)) == "bf16" else "fp32"


def mean_hidden(layer: nn.Linear, bank: FrameBank, clips: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Mean over a clip's frames of ReLU(layer(frames)), (B, H) float32, differentiable in the layer's parameters.

    Args:
        layer: D → H.
        bank: where frames are.
        clips: (B,) positions of clips.
        gain: (D,) that rows are multiplied by, see `FrameBank.standardization`.
        offset: (D,) that is added then. Both are folded into the layer, which gives the same numbers and gradients.
    """
    weight = layer.weight * gain  # (H, D)
    bias = layer.bias + layer.weight @ offset  # (H,)
    return _MeanHidden.apply(weight, bias, bank, clips)  # type: ignore[no-any-return, no-untyped-call]


class _MeanHidden(torch.autograd.Function):
    """The first layer and the mean over time, with the backward written out: frames need no gradient.

    Whole clips go through in blocks that stay in the processor's cache, one after another and hardly padded.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, bank: FrameBank, clips: Tensor) -> Tensor:
        kernel = weight.new_zeros(bank.rows.shape[1], len(bias), dtype=bank.rows.dtype)  # (W, H)
        kernel[: bank.channels], kernel[bank.channels] = weight.t(), bias
        sums, ctx.blocks = [], []
        for block in bank.blocks(clips):
            hidden = _relu_(block.rows @ kernel)  # (R, H)
            sums.append(block.sums(hidden).float())  # (clips of the block, H)
            if any(ctx.needs_input_grad):
                ctx.blocks.append((block, hidden))
        ctx.channels, ctx.width, ctx.lengths = bank.channels, len(kernel), bank.lengths[clips].unsqueeze(1)  # (B, 1)
        return torch.cat(sums) / ctx.lengths

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        each_frame = grads[0] / ctx.lengths  # (B, H), the gradient of every frame of a clip where ReLU is open
        kernel = each_frame.new_zeros(ctx.width, each_frame.shape[1])  # (W, H)
        start = 0
        for block, hidden in ctx.blocks:
            end = start + block.clips
            gradient = _gate(block.spread(each_frame[start:end].to(hidden.dtype)), hidden)  # (R, H)
            if hidden.dtype == kernel.dtype:
                kernel.addmm_(block.rows.t(), gradient)
            else:
                kernel += block.rows.t() @ gradient
            start = end
        return kernel[: ctx.channels].t(), kernel[ctx.channels], None, None


def _relu_(x: Tensor) -> Tensor:
    """ReLU in place; a bfloat16 is negative when its bits are as an integer, and integers compare faster."""
    if x.dtype == torch.bfloat16:
        x.view(torch.int16).clamp_min_(0)
        return x
    return x.relu_()


def _gate(gradient: Tensor, hidden: Tensor) -> Tensor:
    """The gradient, 0 where ReLU's output `hidden` is 0; both are overwritten in bfloat16, and neither in float32."""
    if hidden.dtype == torch.bfloat16:
        ones_where_open = hidden.view(torch.int16).neg_().bitwise_right_shift_(15)
        gradient.view(torch.int16).bitwise_and_(ones_where_open)
        return gradient
    return torch.ops.aten.threshold_backward(gradient, hidden, 0)  # type: ignore[no-any-return]
