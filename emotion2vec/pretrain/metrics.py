"""What is watched of pretraining: losses, deviations, collapse, and the ranks of features.

B: utterances. U: utterances of an update. T: frames. C: CNN channels. D: model width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from emotion2vec.devices import exact_device
from emotion2vec.errors import TrainingError
from emotion2vec.pretrain.config import LossConfig
from emotion2vec.pretrain.network import PretrainOutput
from emotion2vec.pretrain.targets import STD_FLOOR
from emotion2vec.training.config import GuardConfig
from emotion2vec.training.metrics import Moments, exact


@dataclass(frozen=True)
class UpdateSums:
    """Sums over an update's batches, and over all processes; float64.

    Attributes:
        losses: (2,) frame and utterance loss.
        targets: moments of the targets at masked frames.
        predictions: moments of the predictions at masked frames.
        utterances: moments of the teacher's pooled outputs.
        outer: (D, D) sum of the pooled outputs' outer products.
    """

    losses: Tensor
    targets: Moments
    predictions: Moments
    utterances: Moments
    outer: Tensor

    @classmethod
    def of(cls, outputs: Sequence[PretrainOutput]) -> UpdateSums:
        """Add up what the batches of this process contributed."""
        pooled = exact(torch.cat([output.pooled for output in outputs]))  # (U, D)
        losses = [exact(torch.stack([output.frame_loss, output.utterance_loss])) for output in outputs]
        return cls(
            losses=torch.stack(losses).sum(dim=0),
            targets=reduce(add, [output.targets for output in outputs]),
            predictions=reduce(add, [output.predictions for output in outputs]),
            utterances=Moments.of(pooled),
            outer=pooled.T @ pooled,
        )

    def metrics(self, counts: Mapping[str, float], loss: LossConfig) -> dict[str, Tensor | float]:
        """Losses and standard deviations as means over masked frames and views, still on the device.

        Args:
            counts: the update's `masked` frames, `views` and `frames`.
            loss: the section of the configuration.
        """
        frame_loss = self.losses[0] / counts["masked"]
        metrics: dict[str, Tensor | float] = {"loss": frame_loss, "frame_loss": frame_loss}
        if loss.utterance != "none":
            metrics["utterance_loss"] = self.losses[1] / counts["views"]
            metrics["loss"] = frame_loss + loss.alpha * metrics["utterance_loss"]
        width = self.targets.total.shape[0]
        return metrics | {
            "masked_share": counts["masked"] / counts["frames"],
            "target_std": self.targets.std(),
            "prediction_std": self.predictions.std(),
            "explained_share": 1.0 - frame_loss / math.sqrt(width) / self.targets.variance().mean(),
        }


def refuse_collapse(update: int, metrics: Mapping[str, float], guard: GuardConfig) -> None:
    """Stop when targets or predictions have become constant.

    Raises:
        TrainingError: with the value and its limit.
    """
    if update <= guard.after_updates:
        return
    limits = {"target_std": guard.min_target_std, "prediction_std": guard.min_prediction_std}
    for name, limit in limits.items():
        if metrics[name] < limit:
            raise TrainingError(
                f"update {update}: the representation has collapsed: {name} is {metrics[name]:.4g}, expected at least "
                f"{limit:g} (guard.min_{name}). A lower optim.lr or a slower teacher (ema.decay) may help."
            )
    # The floor itself is not reached: float32 running statistics stall a little above it.
    if metrics.get("utterance_target_std", 1.0) < 5 * STD_FLOOR:
        raise TrainingError(f"update {update}: the utterance target is the same for all utterances, expected variation")


class UtteranceCovariance:
    """Running covariance of the teacher's pooled outputs between utterances, to watch their effective rank.

    A single update may hold a handful of utterances, so its own covariance would say little.
    """

    def __init__(self, width: int, device: torch.device, momentum: float = 0.99):
        self.momentum, device = momentum, exact_device(device)
        self.weight = torch.zeros((), dtype=torch.float64, device=device)
        self.mean = torch.zeros(width, dtype=torch.float64, device=device)
        self.outer = torch.zeros(width, width, dtype=torch.float64, device=device)

    def update(self, sums: UpdateSums) -> None:
        """Take in an update's utterances."""
        count, new = sums.utterances.count, 1.0 - self.momentum
        self.weight.lerp_(torch.ones_like(self.weight), new)
        self.mean.lerp_(sums.utterances.total / count, new)
        self.outer.lerp_(sums.outer / count, new)

    def rank(self) -> float:
        """Effective rank of the covariance so far."""
        mean = self.mean / self.weight
        return covariance_rank(self.outer / self.weight - torch.outer(mean, mean))

    def state(self) -> dict[str, Tensor]:
        """What a restart needs."""
        return {"weight": self.weight, "mean": self.mean, "outer": self.outer}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a saved state."""
        for name, value in self.state().items():
            value.copy_(state[name])


def effective_rank(features: Tensor) -> float:
    """Effective rank of features (..., C): e to the entropy of the covariance's eigenvalues (Roy and Vetterli 2007)."""
    return covariance_rank(torch.cov(exact(features.flatten(0, -2)).T))


def covariance_rank(covariance: Tensor) -> float:
    """Effective rank of a covariance matrix (C, C); NaN where it is not finite, as of an update that was left out."""
    if not torch.isfinite(covariance).all():
        return math.nan
    eigenvalues = torch.linalg.eigvalsh(covariance).clamp(min=0)
    share = eigenvalues / eigenvalues.sum().clamp(min=1e-30)
    return math.exp(float(torch.special.entr(share).sum()))


def channel_std(features: Tensor) -> float:
    """Mean over channels of the standard deviation of features (..., C)."""
    return float(features.flatten(0, -2).float().std(dim=0).mean())
