"""Numbers of one update over all its batches and all processes.

B: utterances. T: frames. C: CNN channels. D: model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emotion2vec.devices import exact_device
from emotion2vec.pretrain.config import LossConfig
from emotion2vec.pretrain.objective import Moments, PretrainOutput


@dataclass(frozen=True)
class UpdateSize:
    """What an update holds over all its batches and processes; known before anything is computed.

    Attributes:
        masked: masked frames in all views.
        views: B·M.
        frames: frames in all views, masked or not.
        seconds: audio in s.
        offered: audio in s before batches were cropped to their shortest.
    """

    masked: float
    views: float
    frames: float
    seconds: float
    offered: float


@dataclass(frozen=True)
class UpdateSums:
    """Sums over an update's batches, and after `reduced` over all processes; float64.

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
            targets=_add([output.targets for output in outputs]),
            predictions=_add([output.predictions for output in outputs]),
            utterances=Moments.of(pooled),
            outer=pooled.T @ pooled,
        )

    def reduced(self, add_up: Callable[[Tensor], Tensor]) -> UpdateSums:
        """Sum over all processes, in one transfer."""
        moments = (self.targets, self.predictions, self.utterances)
        parts = [self.losses, *(part for m in moments for part in (m.count, m.total, m.square)), self.outer.flatten()]
        sizes = [part.numel() for part in parts]
        losses, *rest, outer = add_up(torch.cat([part.reshape(-1) for part in parts])).split(sizes)
        found = [Moments(rest[i].reshape(()), rest[i + 1], rest[i + 2]) for i in (0, 3, 6)]
        return UpdateSums(losses, found[0], found[1], found[2], outer.view_as(self.outer))

    def metrics(self, size: UpdateSize, loss: LossConfig) -> dict[str, Tensor | float]:
        """Losses and standard deviations as means over masked frames and views, still on the device."""
        frame_loss = self.losses[0] / size.masked
        metrics: dict[str, Tensor | float] = {"loss": frame_loss, "frame_loss": frame_loss}
        if loss.utterance != "none":
            metrics["utterance_loss"] = self.losses[1] / size.views
            metrics["loss"] = frame_loss + loss.alpha * metrics["utterance_loss"]
        width = self.targets.total.shape[0]
        return metrics | {
            "masked_share": size.masked / size.frames,
            "kept_share": size.seconds / size.offered,
            "target_std": self.targets.std(),
            "prediction_std": self.predictions.std(),
            "explained_share": 1.0 - frame_loss / math.sqrt(width) / self.targets.variance().mean(),
        }


def exact(tensor: Tensor) -> Tensor:
    """A tensor in float64, on the host where its device has none."""
    return tensor.to(exact_device(tensor.device)).double()


def _add(moments: Sequence[Moments]) -> Moments:
    total = moments[0]
    for more in moments[1:]:
        total = total + more
    return total


def to_host(metrics: dict[str, Tensor | float]) -> dict[str, float]:
    """Fetch all values with one wait for the device."""
    names = [name for name, value in metrics.items() if isinstance(value, Tensor)]
    if not names:
        return {name: float(value) for name, value in metrics.items()}
    values = torch.stack([exact(torch.as_tensor(metrics[name])) for name in names]).tolist()
    return {name: float(value) for name, value in (metrics | dict(zip(names, values, strict=True))).items()}


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

    def load(self, state: dict[str, Tensor]) -> None:
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
