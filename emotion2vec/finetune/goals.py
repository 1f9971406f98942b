"""What a head learns of each clip: a class, a distribution over classes, or values; how it is taught and judged.

B: clips of a batch. N: clips. K: scores, one per class or dimension of values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion2vec.tasks.batch_losses import concordance_loss
from emotion2vec.tasks.class_losses import ClassLoss, distributions
from emotion2vec.tasks.metrics import concordance, confusion_matrix, scores
from emotion2vec.tasks.scaling import Scaling
from emotion2vec.training.metrics import exact


@dataclass(frozen=True)
class Goal(ABC):
    """What is learnt.

    Attributes:
        task: `classes` or `values`, as `HeadConfig` has it.
        main: the metric that chooses the checkpoint, higher is better.
        whole: whether the loss compares the clips of an update, so that it needs them all at once.
        mixes: whether a mixture of clips can be learnt.
        names: of the scores.
        weights: what each clip that has the target counts, by its id; the others are not asked about.
    """

    task: ClassVar[str]
    main: ClassVar[str]
    whole: ClassVar[bool]
    mixes: ClassVar[bool] = True
    names: tuple[str, ...]
    weights: Mapping[str, float]

    @abstractmethod
    def targets(self, ids: Sequence[str]) -> Tensor:
        """What scores of clips are compared with, (B,) or (B, K)."""

    @abstractmethod
    def truth(self, name: str) -> np.ndarray:
        """What a clip is judged by: the number of its class (), or its values (K,)."""

    @abstractmethod
    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The loss (), a sum of clips' own times their weights, or, where it compares them, that of the update."""

    @abstractmethod
    def mixed(self, targets: Tensor, weights: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Targets (n, K) and weights (n,) of mixtures of clips.

        Args:
            targets: of the clips, (m,) or (m, K).
            weights: (m,) what they count.
            shares: (n, m) of each in the mixtures.
        """

    @abstractmethod
    def sums(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What adds up to `metrics`, float64."""

    @abstractmethod
    def metrics(self, sums: Tensor) -> dict[str, Tensor]:
        """Numbers of the clips of an update."""

    @abstractmethod
    def judge(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """`loss` and metrics of held-out clips, of their scores (N, K) and what is true of them."""


@dataclass(frozen=True)
class ClassGoal(Goal):
    """A class, or a distribution over classes, of each clip.

    Attributes:
        numbers: the number of each clip's class.
        soft: distributions over classes (K), of the clips that have one.
        rows: the loss of a clip.
    """

    task: ClassVar[str] = "classes"
    main: ClassVar[str] = "UA"
    whole: ClassVar[bool] = False
    numbers: Mapping[str, int]
    soft: Mapping[str, tuple[float, ...]]
    rows: ClassLoss

    def targets(self, ids: Sequence[str]) -> Tensor:
        """See `Goal`."""
        numbers = torch.tensor([self.numbers[name] for name in ids], dtype=torch.long)  # (B,)
        if not self.soft:
            return numbers
        hard = functional.one_hot(numbers, len(self.names)).tolist()
        rows = [self.soft.get(name, row) for name, row in zip(ids, hard, strict=True)]
        return torch.tensor(rows).float().view(-1, len(self.names))  # (B, K)

    def truth(self, name: str) -> np.ndarray:
        """See `Goal`."""
        return np.array(self.numbers[name])

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See `Goal`."""
        return (self.rows.rows(scores, targets) * weights).sum()

    def mixed(self, targets: Tensor, weights: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """See `Goal`: distributions, so that the loss of a mixture is that of its parts, each with its weight."""
        counted = shares * weights  # (n, m)
        total = counted.sum(dim=1)  # (n,)
        whole = counted @ distributions(targets, len(self.names)).to(weights.dtype)  # (n, K)
        return whole / total.clamp_min(torch.finfo(total.dtype).tiny).unsqueeze(1), total

    def sums(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The confusion matrix (K, K), rows are the truth."""
        count = len(self.names)
        truth = targets if targets.ndim == 1 else targets.argmax(dim=1)
        cells = truth * count + scores.argmax(dim=1)
        return exact(torch.bincount(cells, minlength=count * count)).view(count, count)

    def metrics(self, sums: Tensor) -> dict[str, Tensor]:
        """WA, the share of the clips that were right, and UA over the classes that were there."""
        found, right = sums.sum(dim=1), sums.diagonal()
        recall = (right / found.clamp(min=1)).sum() / (found > 0).sum()
        return {"WA": 100 * right.sum() / found.sum(), "UA": 100 * recall}

    def judge(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """See `Goal`."""
        losses = functional.cross_entropy(torch.from_numpy(scores).double(), torch.from_numpy(truth))
        return {"loss": float(losses), **_scores(scores, truth)}


def _scores(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return scores(confusion_matrix(truth, found.argmax(axis=1), found.shape[1]))


@dataclass(frozen=True)
class ValueGoal(Goal):
    """Values of each clip, such as arousal, by 1 − CCC over all clips of an update.

    Attributes:
        values: (K,) of each clip.
        scaling: mean and deviation of the values that train.
    """

    task: ClassVar[str] = "values"
    main: ClassVar[str] = "CCC"
    whole: ClassVar[bool] = True
    values: Mapping[str, tuple[float, ...]]
    scaling: Scaling

    def targets(self, ids: Sequence[str]) -> Tensor:
        """See `Goal`."""
        return torch.tensor([self.values[name] for name in ids]).view(-1, len(self.names))  # (B, K)

    def truth(self, name: str) -> np.ndarray:
        """See `Goal`."""
        return np.array(self.values[name])

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See `Goal`; both are standardized alike, so that all dimensions count alike where a clip is alone."""
        if not len(targets):
            return scores.sum()  # 0
        shift, scale = (torch.as_tensor(x).to(scores) for x in (self.scaling.shift, self.scaling.scale))
        return concordance_loss((scores - shift) / scale, (targets.to(scores) - shift) / scale, weights)

    def mixed(self, targets: Tensor, weights: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """See `Goal`: values between those of the clips."""
        return shares @ targets.to(shares.dtype), shares @ weights

    def sums(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(K, 6): clips, and sums of x, y, x², y² and x · y, of standardized values x and scores y."""
        shift, scale = (torch.as_tensor(part).to(scores) for part in (self.scaling.shift, self.scaling.scale))
        x, y = exact((targets.to(scores) - shift) / scale), exact((scores - shift) / scale)
        terms = [torch.ones_like(x), x, y, x * x, y * y, x * y]
        return torch.stack([term.sum(dim=0) for term in terms], dim=1)

    def metrics(self, sums: Tensor) -> dict[str, Tensor]:
        """CCC, the mean over dimensions and of each."""
        x, y, xx, yy, xy = (sums[:, 1:] / sums[:, :1]).unbind(dim=1)  # (K,) each
        spread = (xx - x * x) + (yy - y * y) + (x - y) ** 2
        found = 2 * (xy - x * y) / spread.clamp(min=1e-12)  # (K,)
        each = {f"CCC_{name}": value for name, value in zip(self.names, found, strict=True)}
        return {"CCC": found.mean()} | (each if len(each) > 1 else {})

    def judge(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """See `Goal`."""
        found = concordance(truth, scores.astype(np.float64))  # (K,)
        each = {f"CCC_{name}": float(value) for name, value in zip(self.names, found, strict=True)}
        mean = float(found.mean())
        return {"loss": 1 - mean, "CCC": mean} | (each if len(each) > 1 else {})
