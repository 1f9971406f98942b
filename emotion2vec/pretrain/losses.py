"""The frame and the utterance loss, as sums, so that an update's batches can share one mean.

B: utterances. M: views. T: frames. D: model width. N: utterance tokens. K: frames that the student saw.
"""

from __future__ import annotations

from torch import Tensor


def squared_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error over the last dimension, divided by √D, in float32: (..., D) to (...)."""
    error = (prediction.float() - target.float()).square().sum(dim=-1)
    return error / target.shape[-1] ** 0.5


def frame_loss_sum(decoded: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Sum the frame loss over masked frames: `decoded` (B, M, T, D), `targets` (B, T, D), `mask` (B, M, T)."""
    return (squared_distance(decoded, targets.unsqueeze(1)) * mask).sum()


def utterance_loss_sum(kind: str, tokens: Tensor, frames: Tensor, target: Tensor) -> Tensor:
    """Sum the utterance loss over the B·M views.

    Args:
        kind: `token` and `chunk` compare the mean of the token outputs with the target, `global` the time-mean of the
            frame outputs (emotion2vec, section 3.3).
        tokens: (B, M, N, D) student's outputs at the utterance tokens.
        frames: (B, M, K, D) student's outputs at the frames that it saw.
        target: (B, D).
    """
    outputs = frames if kind == "global" else tokens
    return squared_distance(outputs.float().mean(dim=2), target.unsqueeze(1)).sum()
