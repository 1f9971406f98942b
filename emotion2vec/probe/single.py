"""What is said of single test clips of all folds, with the first seed: curves over them, and the hardest of them.

K: classes. Q: dimensions of values. N: clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.probe.outcome import Outcome
from emotion2vec.tasks.calibration import probabilities_of, reliability
from emotion2vec.tasks.metrics import roc_points
from emotion2vec.tasks.targets import Goal

MOST_POINTS = 500
"""Test clips whose values and predictions a result keeps, to be drawn."""

HARDEST = 20
"""Clips that are named as the hardest."""


def roc(outcomes: Sequence[Outcome], goal: Goal) -> dict[str, list[list[float]]] | None:
    """ROC curves of the classes; None of values."""
    if goal.task != "classification":
        return None
    first = _first_seed(outcomes)
    truth = np.concatenate([goal.labels[item.test] for item in first])  # (N,)
    shares = np.concatenate([probabilities_of(item.scores) for item in first])  # (N, K)
    return {
        name: [list(point) for point in roc_points(truth == place, shares[:, place])]
        for place, name in enumerate(goal.names)
        if 0 < np.mean(truth == place) < 1
    }


def reliabilities(outcomes: Sequence[Outcome], goal: Goal) -> dict[str, list[dict[str, float]]] | None:
    """Reliability as trained, and `calibrated` where every fold has a temperature; None of values."""
    if goal.task != "classification":
        return None
    first = _first_seed(outcomes)
    truth = np.concatenate([goal.labels[item.test] for item in first])  # (N,)
    found = {"as trained": reliability(truth, np.concatenate([probabilities_of(item.scores) for item in first]))}
    if all(item.details.get("temperature") for item in first):
        shares = [probabilities_of(item.scores, item.details["temperature"]) for item in first]
        found["calibrated"] = reliability(truth, np.concatenate(shares))
    return found


def points(outcomes: Sequence[Outcome], goal: Goal) -> dict[str, list[list[float]]] | None:
    """True and predicted values of test clips at even steps; None of classes."""
    if goal.task != "regression":
        return None
    first = _first_seed(outcomes)
    truth = np.concatenate([goal.labels[item.test] for item in first])  # (N, Q)
    predicted = np.concatenate([item.scores for item in first])  # (N, Q)
    rows = np.unique(np.linspace(0, len(truth) - 1, MOST_POINTS).astype(np.int64))
    pairs = np.stack([truth[rows], predicted[rows]], axis=2).round(3)  # (points, Q, 2)
    return {name: pairs[:, place].tolist() for place, name in enumerate(goal.names)}


def hardest(outcomes: Sequence[Outcome], goal: Goal, clips: Sequence[Utterance]) -> list[dict[str, Any]]:
    """Clips that were taken for another class with the highest probability, or whose values were missed most.

    Of values the error is the mean over dimensions, each in standard deviations of all labels.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    for item in _first_seed(outcomes):
        truth = goal.labels[item.test]
        if goal.task == "regression":
            error = (np.abs(item.scores - truth) / np.maximum(goal.labels.std(axis=0), 1e-12)).mean(axis=1)  # (n,)
            rows: list[dict[str, Any]] = [
                {"truth": _values(goal, true), "predicted": _values(goal, guess), "error": round(float(miss), 3)}
                for true, guess, miss in zip(truth, item.scores, error, strict=True)
            ]
        else:
            shares = probabilities_of(item.scores, item.details.get("temperature") or 1.0)  # (n, K)
            guesses = shares.argmax(axis=1)
            error = np.where(guesses == truth, -1.0, shares.max(axis=1))
            rows = [
                {
                    "truth": goal.names[true],
                    "predicted": goal.names[guess],
                    "probability": round(float(share[guess]), 4),
                    "probability_of_truth": round(float(share[true]), 4),
                }
                for true, guess, share in zip(truth, guesses, shares, strict=True)
            ]
        for place, miss, row in zip(item.test, error, rows, strict=True):
            if miss >= 0:
                clip = clips[place]
                found.append((float(miss), {"file": clip.file, "speaker": clip.speaker, "fold": item.fold.name, **row}))
    return [row for _, row in sorted(found, key=lambda pair: (-pair[0], pair[1]["file"]))[:HARDEST]]


def _values(goal: Goal, row: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 3) for name, value in zip(goal.names, row, strict=True)}


def _first_seed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [item for item in outcomes if item.seed == outcomes[0].seed]
