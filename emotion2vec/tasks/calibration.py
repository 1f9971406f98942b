"""Whether probabilities mean what they say, and one number that makes them (Guo et al., 2017).

N: clips. K: classes.
"""

from __future__ import annotations

import numpy as np

BINS = 15
"""Bins of confidence that an error is measured in."""

COLDEST, WARMEST = 0.05, 20.0
"""Temperatures that are tried."""


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in percent: mean distance of confidence and accuracy over bins of confidence.

    Args:
        truth: (N,) class numbers.
        probabilities: (N, K).
        bins: of equal width.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, confidence - right, minlength=bins)  # sums over the clips of each bin
    return float(100 * np.abs(gaps).sum() / len(truth))


def fit_temperature(truth: np.ndarray, scores: np.ndarray) -> float:
    """The number that scores (N, K) are divided by, so that their softmax has the least cross-entropy.

    Args:
        truth: (N,) class numbers.
        scores: logits of clips that did not train.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = np.asarray(scores, np.float64)
    own = logits[np.arange(len(truth)), truth]  # (N,)

    def loss(log_temperature: float) -> float:
        cold = np.exp(-log_temperature)
        return float(np.mean(logsumexp(cold * logits, axis=1) - cold * own))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(WARMEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
