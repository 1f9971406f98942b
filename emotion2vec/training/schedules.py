"""Schedules as pure functions of the update number; updates count from 1."""

from __future__ import annotations

import math

from emotion2vec.training.config import OptimConfig


def learning_rate(update: int, config: OptimConfig) -> float:
    """Learning rate of one update: linear warm-up to the peak, then a cosine to 0 at `max_updates`."""
    if update <= config.warmup_updates:
        return config.lr * update / config.warmup_updates
    progress = (update - config.warmup_updates) / (config.max_updates - config.warmup_updates)
    return config.lr * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
