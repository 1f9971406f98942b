"""Distances between what the student predicts and what the teacher says, in float32, of each frame or clip.

B: clips. T: frames. D: channels. K: classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

DEVIATION_EPS = 1e-5
"""Added to the variance over time before its root is taken, whose slope would else be infinite at 0."""


def frame_distance(kind: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Squared (`mse`) or absolute (`l1`) errors of frames (B, T, D), mean over channels: (B, T)."""
    error = prediction.float() - target.float()
    return (error.square() if kind == "mse" else error.abs()).mean(dim=2)


def cosine_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """−log σ(cos) of the angle between frames (B, T, D), as DistilHuBERT has it (Chang et al., 2022): (B, T)."""
    return -functional.logsigmoid(functional.cosine_similarity(prediction.float(), target.float(), dim=2))


def clip_statistics(frames: Tensor) -> Tensor:
    """Mean and standard deviation over time of frames (B, T, D): (2, B, D)."""
    frames = frames.float()
    deviation = (frames.var(dim=1, unbiased=False) + DEVIATION_EPS).sqrt()
    return torch.stack([frames.mean(dim=1), deviation])


def soft_loss(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """τ² · KL(teacher ‖ student) of scores (B, K) at temperature τ (Hinton et al., 2015): (B,)."""
    own = functional.log_softmax(scores.float() / temperature, dim=1)
    theirs = functional.log_softmax(taught.float() / temperature, dim=1)
    return temperature**2 * functional.kl_div(own, theirs, reduction="none", log_target=True).sum(dim=1)
