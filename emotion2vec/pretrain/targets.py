"""What the student has to predict, made from the teacher's FFN outputs.

B: utterances. T: frames. D: model width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from emotion2vec.training.running import RunningMoments

STD_FLOOR = 1e-3
"""Running standard deviation of a channel that is the same for all utterances."""

PRIOR = 4.0
"""Utterances whose weight the channels' mean variance has beside what was measured of each channel."""


def frame_targets(ffn: Sequence[Tensor]) -> Tensor:
    """Instance-normalize each layer's frames (B, T, D) over time per channel, and average the layers, in float32."""
    normalized = [F.instance_norm(layer.float().transpose(1, 2)) for layer in ffn]  # (B, D, T) each
    return torch.stack(normalized).mean(dim=0).transpose(1, 2)  # (B, T, D)


def deviation(mean: Tensor, square: Tensor, utterances: Tensor) -> Tensor:
    """Standard deviation (D,) between utterances; 1 where one or none was seen.

    The variance of a channel over a few utterances can be next to nothing by chance, and dividing by it would give
    targets of any size; so it is drawn towards the channels' mean variance, as if `PRIOR` more had been seen.

    Args:
        mean: (D,) of the utterances' vectors.
        square: (D,) of their squares.
        utterances: () how many they are.
    """
    variance = (square - mean.square()).clamp(min=0) / (1 - 1 / utterances)  # (D,), that of a sample
    variance = variance.lerp(variance.mean(), PRIOR / (utterances + PRIOR))
    return torch.where(utterances > 1, variance, 1.0).add(STD_FLOOR**2).sqrt().to(mean)


class UtteranceTarget(RunningMoments):
    """The target (B, D) of the utterance loss: the layers' mean, pooled over time before any normalization over time.

    Instance-normalized frames have a time-mean of exactly zero, so pooling the frame targets would teach nothing.

    Args:
        kind: `plain`, the pool as it is; `layernorm`, normalized over channels; `standardized`, that and then
            standardized per channel with running statistics over utterances, because what all utterances share is much
            larger than their differences.
        width: D.
        momentum: share of the running statistics that one update keeps.
    """

    utterances: Tensor

    def __init__(self, kind: str, width: int, momentum: float = 0.99):
        super().__init__(width, momentum)
        self.kind = kind
        self.register_buffer("utterances", torch.zeros(()))

    def pool(self, ffn: Sequence[Tensor]) -> Tensor:
        """Pool the teacher's frames (B, T, D) of each layer to one vector per utterance (B, D), in float32."""
        pooled = torch.stack([layer.float() for layer in ffn]).mean(dim=0).mean(dim=1)  # (B, D)
        return pooled if self.kind == "plain" else F.layer_norm(pooled, pooled.shape[1:])

    def forward(self, pooled: Tensor) -> Tensor:
        """Turn pooled vectors (B, D) into targets (B, D), with the statistics of the updates before this one.

        Where there are none yet, the vectors' own are taken; the trainer sees to it that there are.
        """
        if self.kind != "standardized":
            return pooled
        mean, square = pooled.mean(dim=0), pooled.square().mean(dim=0)  # (D,) each
        own = deviation(mean, square, torch.full_like(self.utterances, pooled.shape[0]))
        known = self.updates > 0
        return (pooled - torch.where(known, self.mean, mean)) / torch.where(known, self.std(), own)

    def std(self) -> Tensor:
        """Running standard deviation (D,) of the pooled vectors between utterances."""
        return deviation(self.mean, self.square, self.utterances)

    @torch.no_grad()
    def update(self, mean: Tensor, square: Tensor, utterances: float | Tensor = math.inf) -> None:
        """Take in the means (D,) of the pooled vectors and of their squares over all utterances of an update.

        Args:
            mean: (D,).
            square: (D,).
            utterances: how many there were; by default enough for their variance to be trusted.
        """
        self.take_in(mean, square)
        self.utterances += utterances
