"""Schedules as pure functions of the update number; updates count from 1."""

from __future__ import annotations

import math

from emotion2vec.training.config import OptimConfig


def warmup(config: OptimConfig) -> int:
    """Updates of warm-up: as many as are asked for, or a tenth of a run that is no longer than these."""
    return config.warmup_updates if config.warmup_updates < config.max_updates else config.max_updates // 10


def learning_rate(update: int, config: OptimConfig) -> float:
    """Learning rate of one update: linear warm-up to the peak, then a cosine to 0 at `max_updates`."""
    warm = warmup(config)
    if update <= warm:
        return config.lr * update / warm
    progress = (update - warm) / (config.max_updates - warm)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
