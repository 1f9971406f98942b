"""WA, UA, weighted and macro F1 in percent, as speech-emotion papers report them; ROC AUC and CCC.

N: clips. K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """WA of class numbers (N,) as a share, 1 where all are right."""
    return float(np.mean(predicted == truth))


def format_score(value: float | None, unit: str, name: str = "") -> str:
    """A score as messages and tables show it: percent with one digit, others with three; with its metric if named.

    One that there is not, such as the CCC of a single clip, is a dash.
    """
    if value is None:
        return "–"
    shown = f"{value:.1f}" if unit == "%" else f"{round(value, 3) + 0.0:.3f}"  # adding 0 makes a zero positive
    if not name:
        return shown
    return f"{shown} % {name}" if unit == "%" else f"{name} {shown}"


def unweighted_accuracy(confusions: np.ndarray) -> np.ndarray:
    """UA in percent of many confusion matrices (..., K, K) at once, (...); NaN where one is empty."""
    truth = confusions.sum(axis=-1)  # (..., K)
    right = np.diagonal(confusions, axis1=-2, axis2=-1)  # (..., K)
    recall = np.divide(right, truth, out=np.zeros(truth.shape), where=truth > 0)
    present = (truth > 0).sum(axis=-1)  # (...)
    return np.divide(100 * recall.sum(axis=-1), present, out=np.full(present.shape, np.nan), where=present > 0)


def mean_scores(rows: Sequence[Mapping[str, Any]], names: Iterable[str] = METRICS) -> dict[str, float]:
    """Mean of each metric over the scores that have it."""
    return {name: float(np.mean(_known(rows, name))) for name in names}


def std_scores(rows: Sequence[Mapping[str, Any]], names: Iterable[str] = METRICS) -> dict[str, float]:
    """Standard deviation of each metric over the scores that have it (divided by their number, so 0 for one)."""
    return {name: float(np.std(_known(rows, name))) for name in names}


def _known(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """A metric of the rows that have it: a single clip has no CCC.

    Raises:
        ValueError: none has it.
    """
    known = [row[name] for row in rows if row[name] is not None]
    if not known:
        raise ValueError(f"none of {len(rows)} scores has a {name}")
    return known


def roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Area under the ROC curve in percent: one class against the rest, mean over the classes that occur.

    Args:
        truth: (N,) class numbers.
        probabilities: (N, K) a clip's probability, or any rising score, of each class.

    Returns:
        The area, or None when the clips are of a single class.
    """
    found = [area for area in class_roc_auc(truth, probabilities) if area is not None]
    return float(np.mean(found)) if found else None


def class_roc_auc(truth: np.ndarray, probabilities: np.ndarray) -> list[float | None]:
    """Area under the ROC curve in percent of each class against the rest, K of them; None where a class is not there.

    Args:
        truth: (N,) class numbers.
        probabilities: (N, K) a clip's probability, or any rising score, of each class.
    """
    from sklearn.metrics import roc_auc_score

    return [
        float(100 * roc_auc_score(truth == k, probabilities[:, k])) if 0 < np.mean(truth == k) < 1 else None
        for k in range(probabilities.shape[1])
    ]


def class_scores(confusion: np.ndarray) -> list[dict[str, float | None]]:
    """Precision, recall and F1 in percent, and the number of clips, of each class of a confusion matrix (K, K).

    There is no precision of a class that was never predicted, no recall of one that has no clips, and no F1 of one that
    has neither.
    """
    truth, predicted, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)

    def share(part: float, whole: float) -> float | None:
        return float(100 * part / whole) if whole else None

    return [
        {
            "precision": share(right[k], predicted[k]),
            "recall": share(right[k], truth[k]),
            "F1": share(2 * right[k], truth[k] + predicted[k]),
            "clips": int(truth[k]),
        }
        for k in range(len(confusion))
    ]


def roc_points(truth: np.ndarray, scores: np.ndarray, most: int = 50) -> list[tuple[float, float]]:
    """The ROC curve of a class: shares of the others and of its own that score at least so high, from 0 to 1.

    Args:
        truth: (N,) whether a clip is of the class.
        scores: (N,) rising with its probability.
        most: points at most, by even steps.
    """
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(truth, scores)
    kept = np.unique(np.linspace(0, len(false) - 1, most).round().astype(np.int64))
    return [(round(float(x), 4), round(float(y), 4)) for x, y in zip(false[kept], true[kept], strict=True)]


def moments(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Sums that CCC, Pearson's correlation and the absolute error are computed from; they add up over clips.

    Args:
        truth: (N, Q).
        predicted: (N, Q).

    Returns:
        (Q, 7): N and the sums of x, y, x², y², x · y and `|x − y|`, x the truth.
    """
    x, y = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    terms = [np.ones_like(x), x, y, x**2, y**2, x * y, np.abs(x - y)]
    return np.stack([term.sum(axis=0) for term in terms], axis=1)  # (Q, 7)


def _agreement(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CCC and Pearson's correlation (...) of many rows (..., 7) of `moments` at once, see `concordance_scores`."""
    count = sums[..., 0]
    means = np.moveaxis(sums[..., 1:6] / np.maximum(count, 1)[..., None], -1, 0)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means  # (...) each
    x, y = np.maximum(mean_xx - mean_x**2, 0), np.maximum(mean_yy - mean_y**2, 0)
    xy, spread = mean_xy - mean_x * mean_y, x + y + (mean_x - mean_y) ** 2
    tiny = 1e-12 * (mean_xx + mean_yy)  # below it a variance is what rounding left
    concordance = np.divide(2 * xy, spread, out=np.ones(spread.shape), where=spread > tiny)
    correlation = np.divide(xy, np.sqrt(x * y), out=np.zeros(spread.shape), where=np.minimum(x, y) > tiny)
    return np.where(count > 1, concordance, np.nan), np.where(count > 1, correlation, np.nan)


def mean_concordance(sums: np.ndarray) -> np.ndarray:
    """Mean CCC over the dimensions of many sums (..., Q, 7) of `moments`, (...); NaN for fewer than two clips."""
    mean: np.ndarray = _agreement(sums)[0].mean(axis=-1)
    return mean


def concordance_scores(sums: np.ndarray) -> dict[str, float | None]:
    """CCC (Lin, 1989), Pearson's correlation and the mean absolute error from one row (7,) of `moments`.

    CCC is 2 s_xy / (s_x² + s_y² + (m_x − m_y)²) with population (co)variances. Two constant series that are equal agree
    perfectly: 1. The correlation with a constant is 0. A single clip has neither CCC nor correlation: None.

    Raises:
        ValueError: no clip was counted.
    """
    if not sums[0]:
        raise ValueError("no clips to score")
    found = [None if np.isnan(value) else float(value) for value in _agreement(sums)]
    return {"CCC": found[0], "Pearson": found[1], "MAE": float(sums[6] / sums[0])}


def concordance(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """CCC (Q,) of values (N, Q), see `concordance_scores`; 0 for a single clip, which agrees with nothing."""
    origins = [np.mean(x) for x in truth.T]  # shifting both changes nothing, and keeps the digits of the squares
    sums = [
        moments(x[:, None] - origin, y[:, None] - origin)[0]
        for x, y, origin in zip(truth.T, predicted.T, origins, strict=True)
    ]
    return np.nan_to_num(_agreement(np.stack(sums))[0])


MAIN_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"UA": unweighted_accuracy, "CCC": mean_concordance}
"""The metrics that rank features, of many sums of statistics at once; NaN where there is no score."""
