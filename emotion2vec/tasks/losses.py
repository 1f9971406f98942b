"""What the neural heads are trained for: cross-entropy on classes, or agreement (CCC) with values.

B: clips of a batch. n: clips. K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion2vec.probe.features.table import nonzero_scale
from emotion2vec.probe.tasks import Task
from emotion2vec.tasks.metrics import concordance


class Objective(Protocol):
    """Loss, answers and validation score; `metric` names the latter."""

    metric: str

    def loss(self, outputs: Tensor, clips: Tensor) -> Tensor:
        """What is minimized, of the network's outputs (B, K or Q) for the clips at these positions."""
        ...

    def answers(self, outputs: Tensor) -> Tensor:
        """What the outputs say of classes or values, of the same shape."""
        ...

    def score(self, answers: np.ndarray, clips: np.ndarray) -> float:
        """How good answers (n, K or Q) are; 1 is perfect."""
        ...


class ClassObjective:
    """Cross-entropy; logarithms of probabilities; WA."""

    metric = "WA"

    def __init__(self, task: Task, device: torch.device):
        self._truth = task.labels
        self._labels = torch.from_numpy(task.labels).to(device)

    def loss(self, outputs: Tensor, clips: Tensor) -> Tensor:
        """See `Objective`."""
        return functional.cross_entropy(outputs, self._labels[clips])

    def answers(self, outputs: Tensor) -> Tensor:
        """See `Objective`."""
        return outputs.log_softmax(dim=1)

    def score(self, answers: np.ndarray, clips: np.ndarray) -> float:
        """See `Objective`."""
        return float(np.mean(answers.argmax(axis=1) == self._truth[clips]))


class ValueObjective:
    """1 − CCC over the batch, mean over dimensions (Trigeorgis et al., 2016), of values standardized over training."""

    metric = "CCC"

    def __init__(self, task: Task, device: torch.device):
        self._truth = task.labels
        mean, std = task.labels[task.train].mean(axis=0), task.labels[task.train].std(axis=0)  # (Q,)
        scale = nonzero_scale(mean, std)
        self._mean, self._scale = (torch.from_numpy(part).float().to(device) for part in (mean, scale))
        self._labels = torch.from_numpy((task.labels - mean) / scale).float().to(device)  # (N, Q)

    def loss(self, outputs: Tensor, clips: Tensor) -> Tensor:
        """See `Objective`; a batch of one clip has no correlation and is compared by its squared error."""
        truth = self._labels[clips]  # (B, Q)
        if len(truth) == 1:
            return functional.mse_loss(outputs, truth)
        x, y = outputs - outputs.mean(dim=0), truth - truth.mean(dim=0)
        shift = (outputs.mean(dim=0) - truth.mean(dim=0)).square()  # (Q,)
        spread = x.square().mean(dim=0) + y.square().mean(dim=0) + shift
        return (1 - 2 * (x * y).mean(dim=0) / spread.clamp_min(1e-8)).mean()

    def answers(self, outputs: Tensor) -> Tensor:
        """See `Objective`."""
        return outputs * self._scale + self._mean

    def score(self, answers: np.ndarray, clips: np.ndarray) -> float:
        """See `Objective`."""
        pairs = zip(self._truth[clips].T, answers.T, strict=True)
        return float(np.mean([concordance(truth, answer) for truth, answer in pairs]))


def objective_of(task: Task, device: torch.device) -> Objective:
    """The objective that fits a task's labels."""
    return ValueObjective(task, device) if task.continuous else ClassObjective(task, device)
