"""WA, UA, weighted and macro F1 in percent, as speech-emotion papers report them; ROC AUC and CCC.

N: clips. K: classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

METRICS = ("WA", "UA", "WF1", "MF1")


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
    """Compute the metrics, in percent, from a confusion matrix (K, K).

    WA is the share of clips that are right (accuracy), UA the mean recall over the classes that occur, WF1 the mean of
    the classes' F1 weighted by their true counts, MF1 (macro F1) their plain mean over the classes that occur or were
    predicted.

    Raises:
        ValueError: the matrix is empty.
    """
    truth, predicted, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)  # (K,) each
    if truth.sum() == 0:
        raise ValueError("no clips to score")
    present = truth > 0  # (K,)
    recall = right[present] / truth[present]
    f1 = 2 * right / np.maximum(truth + predicted, 1)  # (K,)
    return {
        "WA": float(100 * right.sum() / truth.sum()),
        "UA": float(100 * recall.mean()),
        "WF1": float(100 * np.average(f1, weights=truth)),
        "MF1": float(100 * f1[truth + predicted > 0].mean()),
    }


def mean_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each metric over some scores."""
    return {name: float(np.mean([row[name] for row in rows])) for name in METRICS}


def std_scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Standard deviation of each metric over some scores (divided by their number, so 0 for a single one)."""
    return {name: float(np.std([row[name] for row in rows])) for name in METRICS}


def roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Area under the ROC curve in percent: one class against the rest, mean over the classes that occur.

    Args:
        truth: (N,) class numbers.
        probabilities: (N, K) a clip's probability, or any rising score, of each class.

    Returns:
        The area, or None when the clips are of a single class.
    """
    from sklearn.metrics import roc_auc_score

    present = [k for k in range(probabilities.shape[1]) if 0 < np.mean(truth == k) < 1]
    if not present:
        return None
    return float(100 * np.mean([roc_auc_score(truth == k, probabilities[:, k]) for k in present]))


def concordance(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Concordance correlation coefficient of two series (N,) (Lin, 1989): 2 s_xy / (s_x² + s_y² + (m_x − m_y)²).

    With population (co)variances. Two constant series that are equal agree perfectly: 1.
    """
    x, y = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0 else 1.0
