"""What the student has to predict, made from the teacher's FFN outputs.

B: utterances. T: frames. D: model width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STD_FLOOR = 1e-3
"""Running standard deviation of a channel that is the same for all utterances."""


def frame_targets(ffn: Sequence[Tensor]) -> Tensor:
    """Instance-normalize each layer's frames (B, T, D) over time per channel, and average the layers, in float32."""
    normalized = [F.instance_norm(layer.float().transpose(1, 2)) for layer in ffn]  # (B, D, T) each
    return torch.stack(normalized).mean(dim=0).transpose(1, 2)  # (B, T, D)


class UtteranceTarget(nn.Module):
    """The target (B, D) of the utterance loss: the layers' mean, pooled over time before any normalization over time.

    Instance-normalized frames have a time-mean of exactly zero, so pooling the frame targets would teach nothing.

    Args:
        kind: `plain`, the pool as it is; `layernorm`, normalized over channels; `standardized`, that and then
            standardized per channel with running statistics over utterances, because what all utterances share is much
            larger than their differences.
        width: D.
        momentum: share of the running statistics that one update keeps.
    """

    mean: Tensor
    square: Tensor

    def __init__(self, kind: str, width: int, momentum: float = 0.99):
        super().__init__()
        self.kind = kind
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("square", torch.ones(width))

    def pool(self, ffn: Sequence[Tensor]) -> Tensor:
        """Pool the teacher's frames (B, T, D) of each layer to one vector per utterance (B, D), in float32."""
        pooled = torch.stack([layer.float() for layer in ffn]).mean(dim=0).mean(dim=1)  # (B, D)
        return pooled if self.kind == "plain" else F.layer_norm(pooled, pooled.shape[-1:])

    def forward(self, pooled: Tensor) -> Tensor:
        """Turn pooled vectors (B, D) into targets (B, D), with the statistics of the updates before this one."""
        return (pooled - self.mean) / self.std() if self.kind == "standardized" else pooled

    def std(self) -> Tensor:
        """Running standard deviation (D,) of the pooled vectors between utterances."""
        return (self.square - self.mean.square()).clamp(min=0).add(STD_FLOOR**2).sqrt()

    @torch.no_grad()
    def update(self, mean: Tensor, square: Tensor) -> None:
        """Take in the means (D,) of the pooled vectors and of their squares over all utterances of an update.

        The statistics start at mean 0 and variance 1 and fade to the measured ones, so the variance is never zero when
        the first update holds one utterance.
        """
        self.mean.lerp_(mean.to(self.mean), 1.0 - self.momentum)
        self.square.lerp_(square.to(self.square), 1.0 - self.momentum)
