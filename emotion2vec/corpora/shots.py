"""A few labelled clips of each class: what little a model could be given to learn from. N: clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion2vec.corpora.folds import VALIDATION_SHARE
from emotion2vec.seeding import keyed_seed


def few_shot(
    labels: Sequence[object] | np.ndarray, rows: np.ndarray, count: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw so many clips of each class in all, and divide them into those that train and those that choose.

    A fifth of each class's clips chooses, at least one; where a class has a single one, it does both. A larger draw of
    the same seed has all clips of a smaller one.

    Args:
        labels: (N,) classes of all clips.
        rows: positions of clips that may be learnt from.
        count: of each class; a class that has fewer gives all.
        seed: of the draw.
        name: of the fold, which has a draw of its own.

    Returns:
        Positions of the clips that train, and of those that choose, in rising order.
    """
    train: list[int] = []
    valid: list[int] = []
    for label in sorted({str(labels[i]) for i in rows}):
        own = np.array([i for i in rows if str(labels[i]) == label])
        drawn = np.random.default_rng(keyed_seed("few shots", seed, name, label)).permutation(own)[:count].tolist()
        held = max(1, round(VALIDATION_SHARE * len(drawn)))
        valid += drawn[:held]
        train += drawn[held:] or drawn
    return np.sort(train), np.sort(valid)
