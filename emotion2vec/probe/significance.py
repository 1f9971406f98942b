"""How far scores can be trusted: bootstrap over speakers, and a paired test between two feature sets.

G: speakers. K: classes. R: resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emotion2vec.probe.metrics import scores
from emotion2vec.seeding import keyed_seed

RESAMPLES = 2000
LEVEL = 95.0
"""Confidence level of intervals, in percent."""


def bootstrap_intervals(
    statistics: np.ndarray,
    score: Callable[[np.ndarray], dict[str, float]] = scores,
    *,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the pooled scores when whole speakers are drawn with replacement.

    Clips of one speaker resemble each other, so resampling clips would promise too much (Efron and Tibshirani, 1993).

    Args:
        statistics: (G, ...), what adds up to what `score` takes, such as a confusion matrix (K, K), per speaker or,
            where speakers are unknown, per clip.
        score: turns a sum of them into scores.
        resamples: R.

    Returns:
        Lowest and highest score of the middle 95 % of resamples, per metric.
    """
    groups = len(statistics)
    random = np.random.default_rng(keyed_seed("bootstrap", groups))
    drawn = random.multinomial(groups, np.full(groups, 1 / groups), size=resamples)  # (R, G)
    found = [score(row) for row in np.einsum("rg,gij->rij", drawn, statistics)]
    tail = (100 - LEVEL) / 2
    intervals = {}
    for name in found[0]:
        low, high = np.percentile([row[name] for row in found], [tail, 100 - tail])
        intervals[name] = (float(low), float(high))
    return intervals


def paired_permutation_test(first: np.ndarray, second: np.ndarray, *, resamples: int = 10_000) -> float:
    """Two-sided p value of the mean difference between paired scores, by swapping signs.

    Up to 14 pairs all sign patterns are counted and the test is exact; beyond, `resamples` random ones and the observed
    one are (Good, 2005). Pairs are speakers or folds, not clips.

    Args:
        first: (G,) scores of one feature set.
        second: (G,) scores of the other, in the same order.
        resamples: random sign patterns when there are more than 14 pairs.

    Raises:
        ValueError: there is no pair, or the lengths differ.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} scores cannot be paired")
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)  # (G,)
    observed = abs(difference.sum())
    count = len(difference)
    if count <= 14:
        patterns = 1 - 2 * ((np.arange(1 << count)[:, None] >> np.arange(count)) & 1)  # (2^G, G)
    else:
        random = np.random.default_rng(keyed_seed("permutation", count))
        patterns = np.concatenate([np.ones((1, count)), random.choice([-1, 1], size=(resamples, count))])
    return float(np.mean(np.abs(patterns @ difference) >= observed - 1e-9 * max(1.0, observed)))
