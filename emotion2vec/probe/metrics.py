"""WA, UA and weighted F1 in percent, as speech-emotion papers report them.

N: clips. K: classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

METRICS = ("WA", "UA", "WF1")


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count clips by true class (rows) and predicted class (columns).

    Args:
        truth: (N,) class numbers from 0 to `classes` − 1.
        predicted: (N,) class numbers.
        classes: K.

    Returns:
        (K, K) int64.
    """
    cells = np.bincount(truth * classes + predicted, minlength=classes * classes)  # (K * K,)
    return cells.reshape(classes, classes)  # (K, K)


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Compute the three metrics, in percent, from a confusion matrix (K, K).

    WA is the share of clips that are right (accuracy), UA the mean recall over the classes that occur, WF1 the mean of
    the classes' F1 weighted by their true counts.

    Raises:
        ValueError: the matrix is empty.
    """
    truth, predicted, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)  # (K,) each
    if truth.sum() == 0:
        raise ValueError("no clips to score")
    present = truth > 0  # (K,)
    recall = right[present] / truth[present]
    f1 = 2 * right[present] / (truth[present] + predicted[present])
    return {
        "WA": float(100 * right.sum() / truth.sum()),
        "UA": float(100 * recall.mean()),
        "WF1": float(100 * np.average(f1, weights=truth[present])),
    }


def mean_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each metric over some scores."""
    return {name: float(np.mean([row[name] for row in rows])) for name in METRICS}


def std_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Standard deviation of each metric over some scores (divided by their number, so 0 for a single one)."""
    return {name: float(np.std([row[name] for row in rows])) for name in METRICS}
