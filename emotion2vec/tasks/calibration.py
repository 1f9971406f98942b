"""Whether probabilities are what they say: expected calibration error, and the temperature that makes them so.

N: clips. K: classes.
"""

from __future__ import annotations

import numpy as np

BINS = 15
"""Equally wide bins of confidence (Guo et al., 2017)."""
SPREAD = 0.5
"""Deviation of the logarithm of a temperature before any clip is seen."""


def calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error in percent: how far confidence is from the share that is right, over bins of it.

    Args:
        truth: (N,) class numbers.
        probabilities: (N, K).
    """
    rows = reliability(truth, probabilities)
    return sum(abs(row["confidence"] - row["right"]) * row["clips"] for row in rows) / len(truth)


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """What a reliability diagram shows: mean `confidence` and share that is `right` in percent, and `clips`, by bins.

    Args:
        truth: (N,) class numbers.
        probabilities: (N, K).

    Returns:
        A row for each bin of confidence that has clips, in rising order.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)  # each with its upper edge
    return [
        {
            "confidence": float(100 * confidence[own].mean()),
            "right": float(100 * right[own].mean()),
            "clips": int(own.sum()),
        }
        for number in range(BINS)
        if (own := bins == number).any()
    ]


def probabilities_of(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (N, K) of classes, flattened by a temperature above 1.

    Args:
        scores: (N, K) logits, logarithms of probabilities, or probabilities themselves, which are never negative and
            add up to 1.
        temperature: what logits are divided by.
    """
    is_share = scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
    logits = np.log(np.maximum(scores, 1e-30)) if is_share else scores
    raised = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(truth: np.ndarray, scores: np.ndarray) -> float:
    """The most probable temperature of clips (temperature scaling; Guo et al., 2017), from 0.05 to 20.

    Few clips say little of it, and those that are all right or all wrong would make it 0 or endless: its logarithm is
    taken to be normal around that of 1, with deviation `SPREAD`, before any clip is seen. Hundreds outweigh it.

    Args:
        truth: (N,) class numbers of clips that did not train.
        scores: (N, K), see `probabilities_of`.
    """
    from scipy.optimize import minimize_scalar

    def loss(exponent: float) -> float:
        shares = probabilities_of(scores, float(np.exp(exponent)))
        prior = exponent**2 / (2 * SPREAD**2 * len(truth))
        return prior - float(np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-30)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))
