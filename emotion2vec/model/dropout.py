"""Dropout whose random numbers cost little on a CPU.

PyTorch draws a Bernoulli number per element there, which takes longer than most of what surrounds it. Four elements
share one 64-bit word of the same generator here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LEVELS = 2**16
"""Probabilities are rounded to a multiple of 1 / LEVELS, but never to 0 or 1."""


def dropout(x: Tensor, probability: float, training: bool = True) -> Tensor:
    """Zero each element with a probability and divide the others by the share that is kept (Srivastava et al. 2014).

    Args:
        x: any shape.
        probability: in [0, 1).
        training: whether to drop at all.
    """
    if not training or probability == 0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, probability)
    return Dropout.apply(x, probability)


def draw_kept(shape: tuple[int, ...], probability: float) -> tuple[Tensor, float]:
    """Draw on the CPU which elements stay.

    Returns:
        1 = stays, 0 = dropped, of the shape, uint8 (as a factor several times faster than bool); and the factor that
        makes up for what is dropped.
    """
    dropped = min(max(round(probability * LEVELS), 1), LEVELS - 1)
    count = torch.Size(shape).numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)  # uniform
    kept = words[:count].ge_(dropped - LEVELS // 2).to(torch.uint8)
    return kept.view(shape), LEVELS / (LEVELS - dropped)


class Dropout(torch.autograd.Function):
    """Dropout on a CPU that remembers one byte per element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float) -> Tensor:  # noqa: D102
        kept, ctx.factor = draw_kept(x.shape, probability)
        ctx.save_for_backward(kept)
        return (x * kept).mul_(ctx.factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(ctx.factor), None
