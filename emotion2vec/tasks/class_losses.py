"""Losses of classes, one per utterance: an update's loss is their weighted mean, however it was divided.

B: utterances. K: classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """Cross-entropy, with what helps where classes are rare, disputed or told apart by angles.

    All of it takes class numbers and distributions over classes, such as those of several raters.

    Attributes:
        smoothing: share of a label that all classes get, alike (Szegedy et al., 2016).
        divergence: subtract the entropy of the targets, which gives the Kullback-Leibler divergence to them: 0 where
            they are met, with the gradients of cross-entropy.
        focal: γ of (1 − p)^γ, by which what is right already counts less (Lin et al., 2017).
        adjustment: τ of logit adjustment: scores are raised in training by τ · log of a class's share, so that
            without it rare ones are not kept down (Menon et al., 2021).
        shares: of the classes in training, K; only for an adjustment.
        margin: subtracted from the score of the true class, for heads whose scores are `s · cos`: s · m (AM-Softmax;
            Wang et al., 2018).
    """

    smoothing: float = 0.0
    divergence: bool = False
    focal: float = 0.0
    adjustment: float = 0.0
    shares: Sequence[float] = ()
    margin: float = 0.0

    def rows(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The loss of each utterance, (B,) float32.

        Args:
            scores: (B, K) logits.
            targets: (B,) class numbers, or (B, K) distributions over classes.
        """
        scores = scores.float()
        wanted = distributions(targets, scores.shape[1]).to(scores.dtype)  # (B, K)
        if self.margin:
            scores = scores - self.margin * wanted
        if self.adjustment:
            scores = scores + self.adjustment * torch.tensor(self.shares, device=scores.device).log()
        if self.smoothing:
            wanted = (1 - self.smoothing) * wanted + self.smoothing / scores.shape[1]
        found = scores.log_softmax(dim=1)  # (B, K)
        if self.divergence:
            found = found - torch.where(wanted > 0, wanted, 1.0).log()
        if self.focal:
            missing = -torch.expm1(scores.log_softmax(dim=1))  # 1 − p, exact where p is nearly 1
            found = found * missing.clamp_min(torch.finfo(scores.dtype).tiny) ** self.focal
        return -(wanted * found).sum(dim=1)


def distributions(targets: Tensor, classes: int) -> Tensor:
    """Distributions over classes (B, K) of class numbers (B,), or as they are."""
    return targets if targets.ndim == 2 else functional.one_hot(targets, classes)


def class_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """What clips of each class count (K,): (N / (K · n))^power, 1 for all where the power is 0.

    Args:
        counts: (K,) clips n of each class in training, or sums of soft labels; none is 0.
        power: 1 lets every class count alike, ½ is halfway.
    """
    weights: np.ndarray = (counts.sum() / (len(counts) * counts)) ** power
    return weights
