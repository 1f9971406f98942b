"""Losses that compare the utterances of a whole update with each other, and their gradients by parts.

B: utterances of an update. Q: dimensions of values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def concordance_loss(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """1 − CCC, mean over dimensions (Trigeorgis et al., 2016), ().

    A single utterance has no correlation and is compared by its squared error.

    Args:
        scores: (B, Q).
        targets: (B, Q).
        weights: (B,) what utterances count; None for alike.
    """
    if len(targets) == 1:
        return functional.mse_loss(scores, targets)

    def mean(x: Tensor) -> Tensor:
        return x.mean(dim=0) if weights is None else weights @ x / weights.sum()  # (Q,)

    x, y = scores - mean(scores), targets - mean(targets)
    shift = (mean(scores) - mean(targets)).square()  # (Q,)
    spread = mean(x.square()) + mean(y.square()) + shift
    return (1 - 2 * mean(x * y) / spread.clamp_min(1e-8)).mean()


def whole_gradient(loss: Callable[[Tensor], Tensor], outputs: Tensor) -> tuple[Tensor, Tensor]:
    """A loss over a whole update, and what a part of it has to send back (GradCache; Gao et al., 2021).

    Memory holds one micro-batch where all are first run without gradients, their outputs gathered, and each is run
    again: `(outputs * gradient).sum().backward()`, with its rows of the gradient, is exact for a loss over all of them.

    Args:
        loss: () of outputs (B, ...).
        outputs: (B, ...) of all micro-batches and processes.

    Returns:
        The loss, (), and its gradient by the outputs (B, ...), both without a graph.
    """
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_(True)
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient
