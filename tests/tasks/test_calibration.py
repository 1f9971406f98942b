"""Calibration against torchmetrics and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from sklearn.metrics import log_loss, precision_recall_fscore_support, roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from emotion2vec.tasks.calibration import calibration_error, fit_temperature, probabilities_of
from emotion2vec.tasks.metrics import class_roc_auc, class_scores, confusion_matrix, roc_auc, roc_points


def sampled(sharpness: float, count: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Classes drawn with the probabilities of logits, and these logits times something, (N,) and (N, 3)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (count, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    return truth, sharpness * logits


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_error_is_torchmetrics(sharpness: float) -> None:
    truth, logits = sampled(sharpness, 500)
    shares = softmax(logits, axis=1)
    tensors = torch.from_numpy(shares), torch.from_numpy(truth)
    expected = multiclass_calibration_error(*tensors, num_classes=3, n_bins=15, norm="l1").item()
    assert calibration_error(truth, shares) == pytest.approx(100 * expected, abs=1e-4)
    assert calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_probabilities_wrong(sharpness: float) -> None:
    truth, logits = sampled(sharpness)
    found = fit_temperature(truth, logits)
    assert found == pytest.approx(sharpness, rel=0.06)
    losses = [log_loss(truth, softmax(logits / (found * factor), axis=1)) for factor in (0.97, 1.0, 1.03)]
    assert losses[1] == pytest.approx(min(losses), abs=1e-4)
    assert calibration_error(truth, probabilities_of(logits, found)) < 2.5
    for same in (log_softmax(logits, axis=1), softmax(logits, axis=1)):
        assert fit_temperature(truth, same) == pytest.approx(found, rel=1e-3)


def test_what_is_always_right_or_never_says_as_much_as_there_are_clips() -> None:
    scores = np.eye(2)[[0, 1, 0]] * 2 - 1
    right = [fit_temperature(np.tile([0, 1, 0], n), np.tile(scores, (n, 1))) for n in (1, 5, 100)]
    wrong = [fit_temperature(np.tile([1, 0, 1], n), np.tile(scores, (n, 1))) for n in (1, 5, 100)]
    assert 1 > right[0] > right[1] > right[2] and right[0] > 0.6
    assert 1 < wrong[0] < wrong[1] < wrong[2] and wrong[0] < 2


def test_the_temperature_is_the_most_probable_one() -> None:
    truth, logits = sampled(3.0, 20)
    found = fit_temperature(truth, logits)
    grid = np.exp(np.linspace(-2, 3, 5_001))
    density = [norm.logpdf(np.log(t), 0, 0.5) - 20 * log_loss(truth, softmax(logits / t, axis=1)) for t in grid]
    assert found == pytest.approx(grid[int(np.argmax(density))], rel=2e-3)


def test_scores_of_classes_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.choice([0, 1, 3], 60), rng.choice([0, 1, 2], 60)
    found = class_scores(confusion_matrix(truth, predicted, 5))
    labels = range(5)
    expected = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=np.nan)
    for row, *values in zip(found, *expected, strict=True):
        for name, value in zip(("precision", "recall", "F1"), values[:3], strict=True):
            assert row[name] == (None if np.isnan(value) else pytest.approx(100 * value)), (name, row)
        assert row["clips"] == values[3]


def test_areas_of_classes_are_scikit_learns_and_those_of_their_curves() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    scores = rng.normal(size=(400, 4)) + 1.5 * np.eye(4)[truth]
    found = class_roc_auc(truth, scores)
    assert found[3] is None
    for k in range(3):
        assert found[k] == pytest.approx(100 * roc_auc_score(truth == k, scores[:, k]))
        points = roc_points(truth == k, scores[:, k])
        assert points[0] == (0, 0) and points[-1] == (1, 1) and len(points) <= 50
        assert 100 * np.trapezoid(*np.array(points).T[::-1]) == pytest.approx(found[k], abs=1.0)
    assert roc_auc(truth, scores) == pytest.approx(np.mean(found[:3]))
