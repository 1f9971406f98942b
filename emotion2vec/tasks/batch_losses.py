"""Losses that compare the utterances of a whole update with each other, and their gradients by parts.

B: utterances of an update. Q: dimensions of values. D: channels of an embedding.
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


def supervised_contrastive(
    embeddings: Tensor, labels: Tensor, temperature: float = 0.1, weights: Tensor | None = None
) -> Tensor:
    """Utterances of one class near each other, all others away: L_out of Khosla et al. (2020), ().

    An utterance that is the only one of its class pushes others away and has no loss of its own; without any pair the
    loss is 0.

    Args:
        embeddings: (B, D), of any length.
        labels: (B,) class numbers.
        temperature: of the softmax over utterances.
        weights: (B,) what utterances count; None for alike.
    """
    if len(labels) < 2:
        return 0 * embeddings.sum()
    units = functional.normalize(embeddings.float(), dim=1)
    itself = torch.eye(len(units), dtype=torch.bool, device=units.device)
    likeness = (units @ units.T / temperature).masked_fill(itself, float("-inf"))  # (B, B)
    same = (labels[:, None] == labels[None]) & ~itself  # (B, B)
    log_share = likeness.log_softmax(dim=1).masked_fill(~same, 0.0)
    partners = same.sum(dim=1)  # (B,)
    rows = -log_share.sum(dim=1) / partners.clamp_min(1)
    counted = (partners > 0).to(rows.dtype) if weights is None else weights * (partners > 0)
    return (rows * counted).sum() / counted.sum().clamp_min(torch.finfo(rows.dtype).tiny)


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
