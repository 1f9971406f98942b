"""Time masks of the student's views.

B: utterances. M: views. T: frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emotion2vec.pretrain.config import MaskConfig
from emotion2vec.seeding import keyed_seed


def masked_frames(frames: int, prob: float) -> int:
    """Frames masked in every row of `frames` frames: int(T · prob), and at least one."""
    return max(1, int(frames * prob))


def time_mask(frames: int, config: MaskConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw one mask (T,), True = masked, with exactly int(T · prob) masked frames.

    int(T · (prob + adjust) / span) centers are drawn with replacement and widened to `span` frames, clamped at the
    ends; then frames are masked, or rarely unmasked, at random until the number is right (the block masking of data2vec
    2.0's audio recipe, done by its data loader).
    """
    target = masked_frames(frames, config.prob)
    centers = rng.integers(0, frames, size=int(frames * (config.prob + config.adjust) / config.span))
    offsets = np.arange(config.span) - config.span // 2
    mask = np.zeros(frames, dtype=bool)
    mask[np.clip(centers[:, None] + offsets, 0, frames - 1)] = True
    excess = int(mask.sum()) - target
    pool = np.flatnonzero(mask if excess > 0 else ~mask)
    mask[rng.choice(pool, size=abs(excess), replace=False)] = excess < 0
    return mask


def batch_masks(ids: Sequence[str], frames: int, config: MaskConfig, *, seed: int, update: int) -> Tensor:
    """Draw the masks of a batch, (B, M, T) bool; each is a function of (seed, update, utterance id, view) alone."""
    rows = [
        time_mask(frames, config, np.random.default_rng(keyed_seed(seed, "mask", update, name, view)))
        for name in ids
        for view in range(config.views)
    ]
    return torch.from_numpy(np.stack(rows)).view(len(ids), config.views, frames)  # (B, M, T)


def visible_indices(mask: Tensor) -> Tensor:
    """Indices (R, K) of the unmasked frames of (R, T) masks, in time order; all rows mask equally many frames."""
    kept = mask.shape[1] - int(mask[0].sum())
    return mask.to(torch.uint8).argsort(dim=1, stable=True)[:, :kept]  # (R, K)
