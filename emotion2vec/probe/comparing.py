"""Features and heads beside each other: which is best, and whether it is by more than chance."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.metrics import MAIN_SCORES
from emotion2vec.tasks.significance import Comparison, compare


def best_of(rivals: Sequence[HeadScores]) -> HeadScores:
    """The one with the highest mean of the main metric over folds, the first of equals."""
    return max(rivals, key=lambda one: one.mean[one.main])


def against_best(scores: HeadScores, rivals: Sequence[HeadScores]) -> Comparison | None:
    """A result beside the best of some on the same folds, by the mean of the main metric over folds.

    Speakers are paired or, where they are unknown or alone, folds.

    Args:
        scores: of a feature under a head.
        rivals: what it is among, itself too.

    Returns:
        The comparison; None of the best itself, and where nothing can be paired.
    """
    best = best_of(rivals)
    if best is scores:
        return None
    by_speaker = all(len(found.by_speaker) > 1 for found in (scores, best))
    ours, theirs = (_statistics(found, by_speaker) for found in (scores, best))
    return compare(ours, theirs, MAIN_SCORES[scores.main])


def _statistics(scores: HeadScores, by_speaker: bool) -> dict[tuple[Hashable, str], np.ndarray]:
    """What scores are computed from, by fold and seed and by what is paired: speakers, or folds."""
    found: dict[tuple[Hashable, str], np.ndarray] = {}
    for part in scores.statistics:
        key = (part.fold, part.seed), str(part.speaker) if by_speaker else part.fold
        found[key] = found.get(key, 0) + np.array(part.values, np.float64)
    return found
