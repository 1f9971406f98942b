"""Gradient reversal: what is learnt behind it is unlearnt in front of it (Ganin et al., 2016, JMLR 17)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def reverse(x: Tensor, factor: float) -> Tensor:
    """The same tensor, whose gradient comes back times −λ."""
    found: Tensor = _Reversal.apply(x, factor)
    return found


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


def ramp(progress: float) -> float:
    """The share of λ at a progress p from 0 to 1: 2 / (1 + exp(−10 p)) − 1."""
    return 2 / (1 + math.exp(-10 * progress)) - 1
