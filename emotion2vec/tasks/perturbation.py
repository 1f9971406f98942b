"""What makes training harder on purpose: mixed representations, reversed gradients, adversarial inputs.

B: utterances. K: classes. S: samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixup:
    """Which utterances of a batch are mixed, and how much of each (Zhang et al., 2018).

    Laid on a hidden layer that is drawn anew for each batch it is manifold mixup (Verma et al., 2019).

    Attributes:
        shares: (B,) of the utterances themselves.
        partners: (B,) position of the utterance that gives the rest.
    """

    shares: Tensor
    partners: Tensor

    @classmethod
    def draw(cls, count: int, alpha: float, rng: np.random.Generator) -> Mixup:
        """Partners at random, shares after Beta(α, α): near 0 and 1 for a small α, even for 1."""
        shares = torch.from_numpy(rng.beta(alpha, alpha, count)).float()
        return cls(shares, torch.from_numpy(rng.permutation(count)))

    def to(self, device: torch.device) -> Mixup:
        """The same on another device."""
        return Mixup(self.shares.to(device), self.partners.to(device))

    def apply(self, values: Tensor) -> Tensor:
        """Mixed rows (B, ...): of a layer, of targets (B, K), which are distributions then, or of weights (B,)."""
        shares = self.shares.view(-1, *[1] * (values.ndim - 1)).to(values.dtype)
        return shares * values + (1 - shares) * values[self.partners]


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """The same values, whose gradient is multiplied by −strength on its way back (Ganin et al., 2016).

    What is above learns, say, who speaks; what is below unlearns it.
    """
    return _Reversal.apply(x, strength)  # type: ignore[no-any-return, no-untyped-call]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None


def reversal_strength(progress: float) -> float:
    """How strongly gradients are reversed after this share of a run: from 0 towards 1 (Ganin et al., 2016)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def adversarial(
    waveforms: Tensor, loss: Callable[[Tensor], Tensor], radius: float, *, steps: int = 1, padding: Tensor | None = None
) -> Tensor:
    """Waveforms (B, S) that are worse for a model, no sample changed by more than `radius`; without a graph.

    One step is the fast gradient sign method (Goodfellow et al., 2015); several, of 2.5 · radius / steps each, are
    projected gradient descent (Madry et al., 2018), from the waveforms themselves, so that it can be repeated. The
    gradients of the model's weights are left as they are.

    Args:
        waveforms: (B, S).
        loss: () of waveforms, to be raised; a sum over utterances treats each by itself.
        radius: largest change of a sample.
        steps: how many.
        padding: (B, S), True = padding, which stays as it is.
    """
    step = radius if steps == 1 else 2.5 * radius / steps
    changed = waveforms.detach()
    for _ in range(steps):
        with torch.enable_grad():
            leaf = changed.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(leaf), leaf)
        moved = changed + step * gradient.sign()
        changed = waveforms.detach() + (moved - waveforms.detach()).clamp(-radius, radius)
    return changed if padding is None else torch.where(padding, waveforms.detach(), changed)
