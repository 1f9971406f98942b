"""What heads are trained for: cross-entropy on classes, or agreement (CCC) with values.

B: utterances of a batch. n: utterances. K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion2vec.tasks.batch_losses import concordance_loss
from emotion2vec.tasks.class_losses import ClassLoss
from emotion2vec.tasks.metrics import accuracy, concordance
from emotion2vec.tasks.scaling import Scaling


class Criterion(Protocol):
    """How scores of a head are compared with labels.

    Attributes:
        metric: name of what `score` gives.
        units: mean and deviation (Q,) that scores are multiplied out with to be values; None where scores are
            logits of classes.
    """

    metric: str
    units: tuple[Tensor, Tensor] | None

    def targets(self, labels: np.ndarray) -> Tensor:
        """Labels, class numbers (n,) or values (n, Q), as `loss` takes them, on the criterion's device."""
        ...

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What is minimized, of scores (B, K or Q) and the targets of the same utterances."""
        ...

    def answers(self, scores: Tensor) -> Tensor:
        """What scores say of classes or values, of the same shape."""
        ...

    def score(self, answers: np.ndarray, labels: np.ndarray) -> float:
        """How good answers (n, K or Q) are for these labels; 1 is perfect."""
        ...


class ClassCriterion:
    """Cross-entropy, or another loss of classes; logarithms of probabilities; WA.

    Its loss also takes distributions over classes (B, K).
    """

    metric = "WA"
    units: tuple[Tensor, Tensor] | None = None

    def __init__(self, device: torch.device, loss: ClassLoss | None = None):
        self._device = device
        self._loss = loss

    def targets(self, labels: np.ndarray) -> Tensor:
        """See `Criterion`."""
        return torch.from_numpy(labels).to(self._device)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Criterion`."""
        if self._loss is None:
            return functional.cross_entropy(scores, targets)
        return self._loss.rows(scores, targets).mean()

    def answers(self, scores: Tensor) -> Tensor:
        """See `Criterion`."""
        return scores.log_softmax(dim=1)

    def score(self, answers: np.ndarray, labels: np.ndarray) -> float:
        """See `Criterion`."""
        return accuracy(labels, answers.argmax(axis=1))


class ValueCriterion:
    """1 − CCC over the batch, mean over dimensions, of values standardized over training; see `concordance_loss`.

    Args:
        trained: (n, Q) the labels of training.
        device: where scores are.
    """

    metric = "CCC"

    def __init__(self, trained: np.ndarray, device: torch.device):
        self._scaling = Scaling.of(trained)
        mean, scale = self._scaling.shift, self._scaling.scale  # (Q,) each
        self.units: tuple[Tensor, Tensor] | None = (
            torch.from_numpy(mean).float().to(device),
            torch.from_numpy(scale).float().to(device),
        )
        self._device = device

    def targets(self, labels: np.ndarray) -> Tensor:
        """See `Criterion`."""
        return torch.from_numpy(self._scaling.apply(labels)).to(self._device)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """See `Criterion`."""
        return concordance_loss(scores, targets)

    def answers(self, scores: Tensor) -> Tensor:
        """See `Criterion`."""
        assert self.units is not None
        mean, scale = self.units
        return scores * scale + mean

    def score(self, answers: np.ndarray, labels: np.ndarray) -> float:
        """See `Criterion`; a single utterance agrees with nothing."""
        return float(concordance(labels, answers).mean())


def criterion_for(trained: np.ndarray, device: torch.device, loss: ClassLoss | None = None) -> Criterion:
    """The criterion that fits labels as those of training, class numbers (n,) or values (n, Q).

    Args:
        trained: the labels.
        device: where scores are.
        loss: of classes; None for cross-entropy.
    """
    return ClassCriterion(device, loss) if trained.ndim == 1 else ValueCriterion(trained, device)
