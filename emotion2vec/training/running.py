"""Running statistics of channels over the updates of a run, the same on all processes. D: channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMoments(nn.Module):
    """Running means of channels and of their squares; buffers, so that a checkpoint holds them.

    The running means are unbiased from the first update on: an update's share is (1 − momentum) / (1 − momentumⁿ)
    at update n, as Adam corrects its moments (Kingma and Ba, 2015).

    Args:
        width: D.
        momentum: share of the running statistics that one update keeps.
    """

    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(self, width: int, momentum: float = 0.99):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("square", torch.ones(width))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def take_in(self, mean: Tensor, square: Tensor) -> None:
        """Take in the means (D,) of an update's values and of their squares, over all processes."""
        self.updates += 1
        share = ((1 - self.momentum) / (1 - self.momentum**self.updates)).clamp(max=1.0)
        self.mean.lerp_(mean.to(self.mean), share.to(self.mean))
        self.square.lerp_(square.to(self.square), share.to(self.square))
