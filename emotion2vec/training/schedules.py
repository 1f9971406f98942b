"""Schedules as pure functions of the update number; updates count from 1."""

from __future__ import annotations

import math

from emotion2vec.training.config import OptimConfig


def learning_rate(update: int, config: OptimConfig) -> float:
    """Learning rate of one update: linear warm-up to the peak, then a cosine to 0 at `max_updates`."""
    warmup = config.warmup
    if update <= warmup:
        return config.lr * update / warmup
    progress = (update - warmup) / (config.max_updates - warmup)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
