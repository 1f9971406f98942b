from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from emotion2vec.tasks import metrics


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.choice(5, size=60, p=[0.5, 0.3, 0.1, 0.05, 0.05])
    predicted = np.where(random.random(60) < 0.6, truth, random.integers(0, 5, 60))
    found = metrics.scores(metrics.confusion_matrix(truth, predicted, 5))
    assert found["WA"] == pytest.approx(100 * accuracy_score(truth, predicted))
    assert found["UA"] == pytest.approx(100 * np.mean(_recalls(truth, predicted)))
    assert found["WF1"] == pytest.approx(100 * f1_score(truth, predicted, average="weighted", zero_division=0))
    assert found["MF1"] == pytest.approx(100 * f1_score(truth, predicted, average="macro", zero_division=0))


def _recalls(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    return [float(np.mean(predicted[truth == label] == label)) for label in np.unique(truth)]


def test_ua_is_the_mean_over_classes_that_occur() -> None:
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1])  # class 2 is predicted and never true
    found = metrics.scores(metrics.confusion_matrix(truth, predicted, 4))
    assert found["UA"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found["UA"] == pytest.approx(100 * balanced_accuracy_score(truth, predicted))


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([0, 0, 0, 1], [0, 0, 2, 1]), ([0, 0, 1, 1], [2, 2, 2, 2]), ([1, 1, 1, 3], [1, 1, 1, 1]), ([2], [2]), ([2], [0])],
)
def test_mf1_counts_classes_that_occur_or_are_predicted_and_no_others(truth: list[int], predicted: list[int]) -> None:
    found = metrics.scores(metrics.confusion_matrix(np.array(truth), np.array(predicted), 5))
    assert found["MF1"] == pytest.approx(100 * f1_score(truth, predicted, average="macro", zero_division=0))
    assert found["WF1"] == pytest.approx(100 * f1_score(truth, predicted, average="weighted", zero_division=0))


def test_many_matrices_at_once_have_the_ua_of_each() -> None:
    matrices = np.random.default_rng(0).integers(0, 4, (3, 2, 4, 4)) * np.array([1, 1, 0, 1])[:, None]
    with np.errstate(all="raise"):
        found = metrics.unweighted_accuracy(matrices)
        assert np.isnan(metrics.unweighted_accuracy(np.zeros((2, 3, 3), np.int64))).all()
    assert found.shape == (3, 2)
    for place in np.ndindex(3, 2):
        assert found[place] == pytest.approx(metrics.scores(matrices[place])["UA"])


SMALL = [
    *(np.array(cells).reshape(2, 2) for cells in product(range(3), repeat=4)),
    *(np.array(cells).reshape(3, 3) for cells in product(range(2), repeat=9)),
]
"""All confusion matrices of two classes with up to two clips a cell, and of three with up to one."""


def test_every_small_matrix_by_the_definitions() -> None:
    """Of single clips, of classes that are never right, never predicted, or not there."""
    for matrix in (one for one in SMALL if one.any()):
        cells, classes = matrix.tolist(), range(len(matrix))
        clips = [sum(cells[k]) for k in classes]
        heard = [sum(row[k] for row in cells) for k in classes]
        recalls = [cells[k][k] / clips[k] for k in classes if clips[k]]
        f1 = {k: 2 * cells[k][k] / (clips[k] + heard[k]) for k in classes if clips[k] + heard[k]}
        expected = {
            "WA": 100 * sum(cells[k][k] for k in classes) / sum(clips),
            "UA": 100 * sum(recalls) / len(recalls),
            "WF1": 100 * sum(clips[k] * one for k, one in f1.items()) / sum(clips),
            "MF1": 100 * sum(f1.values()) / len(f1),
        }
        assert metrics.scores(matrix) == pytest.approx(expected), cells
        assert metrics.unweighted_accuracy(matrix) == pytest.approx(expected["UA"]), cells
        for k, found in enumerate(metrics.class_scores(matrix)):
            parts = {"precision": heard[k], "recall": clips[k]}
            of = {name: 100 * cells[k][k] / count if count else None for name, count in parts.items()}
            of |= {"F1": 100 * f1[k] if k in f1 else None, "clips": clips[k]}
            assert found == pytest.approx(of), cells


@pytest.mark.parametrize("clips", [2, 3, 9])
def test_agreement_of_few_clips_by_the_formulas(clips: int) -> None:
    for seed in range(20):
        x, y = np.random.default_rng(seed).normal(seed % 3, 1, (2, clips))
        found = metrics.concordance_scores(metrics.moments(x[:, None], y[:, None])[0])
        covariance = float(np.cov(x, y, ddof=0)[0, 1])
        assert found == pytest.approx({
            "CCC": 2 * covariance / (np.var(x) + np.var(y) + (x.mean() - y.mean()) ** 2),
            "Pearson": np.corrcoef(x, y)[0, 1],
            "MAE": np.mean(np.abs(x - y)),
        })  # fmt: skip


def test_scores_of_each_class_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 3, 40), random.integers(0, 3, 40)
    found = metrics.class_scores(metrics.confusion_matrix(truth, predicted, 5))
    expected = precision_recall_fscore_support(truth, predicted, labels=range(3))
    for k, (precision, recall, f1, clips) in enumerate(zip(*expected, strict=True)):
        assert found[k] == pytest.approx(
            {"precision": 100 * precision, "recall": 100 * recall, "F1": 100 * f1, "clips": clips}
        )
    assert found[3] == found[4] == {"precision": None, "recall": None, "F1": None, "clips": 0}
    (never, only) = metrics.class_scores(np.array([[0, 2], [0, 3]]))
    assert never == {"precision": None, "recall": 0, "F1": 0, "clips": 2} and only["precision"] == 60


def test_confusion_has_the_truth_in_rows() -> None:
    truth, predicted = np.array([0, 0, 1, 2]), np.array([1, 1, 1, 0])
    found = metrics.confusion_matrix(truth, predicted, 3)
    np.testing.assert_array_equal(found, confusion_matrix(truth, predicted, labels=[0, 1, 2]))
    assert found[0, 1] == 2


def test_no_clips_are_no_score() -> None:
    with pytest.raises(ValueError, match="no clips"):
        metrics.scores(np.zeros((3, 3), np.int64))


def test_mean_and_deviation_over_folds() -> None:
    rows = [{"WA": 50.0, "UA": 40.0, "WF1": 30.0, "MF1": 1.0}, {"WA": 70.0, "UA": 40.0, "WF1": 60.0, "MF1": 3.0}]
    assert metrics.mean_scores(rows) == {"WA": 60.0, "UA": 40.0, "WF1": 45.0, "MF1": 2.0}
    assert metrics.std_scores(rows) == {"WA": 10.0, "UA": 0.0, "WF1": 15.0, "MF1": 1.0}


def test_auc_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, probabilities = random.integers(0, 4, 80), random.dirichlet(np.ones(4), 80)
    expected = roc_auc_score(truth, probabilities, multi_class="ovr")
    assert metrics.roc_auc(truth, probabilities) == pytest.approx(100 * expected)
    wider = np.hstack([probabilities, np.zeros((80, 1))])  # a class that does not occur is left out
    assert metrics.roc_auc(truth, wider) == pytest.approx(100 * expected)
    assert metrics.roc_auc(np.zeros(80, np.int64), probabilities) is None


def test_concordance_follows_from_the_correlation() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    y = 2 * x + y + 1
    expected = 2 * np.corrcoef(x, y)[0, 1] * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    mirrored = np.stack([y, x, -x + 2 * x.mean()], axis=1)
    assert metrics.concordance(np.stack([x, x, x], axis=1), mirrored) == pytest.approx([expected, 1, -1])
    assert metrics.concordance(np.ones((3, 1)), np.ones((3, 1))) == 1
    assert metrics.concordance(np.ones((1, 1)), np.ones((1, 1))) == 0


# Truth, predictions and CCC of Lin's formula with population moments, by hand: without spread there is no covariance.
CONSTANT = {
    "constant predictions": ([1.0, 2.0, 6.0], [2.0, 2.0, 2.0], 0.0),
    "the mean predicted": ([1.0, 2.0, 6.0], [3.0, 3.0, 3.0], 0.0),
    "constant truth": ([2.0, 2.0, 2.0], [1.0, 2.0, 6.0], 0.0),
    "equal constants": ([0.3, 0.3, 0.3], [0.3, 0.3, 0.3], 1.0),
    "other constants": ([0.3, 0.3, 0.3], [0.4, 0.4, 0.4], 0.0),
    "zeros": ([0.0, 0.0], [0.0, 0.0], 1.0),
    "two clips the wrong way round": ([0.0, 1.0], [1.0, 0.0], -1.0),
    "scaled": ([0.0, 2.0], [0.0, 1.0], 2 * 0.5 / (1 + 0.25 + 0.25)),
}


@pytest.mark.parametrize("case", CONSTANT)
@pytest.mark.parametrize("shift", [0.0, 1000.1])
def test_ccc_of_series_without_spread(case: str, shift: float) -> None:
    """Whatever their offset, whose square is what rounding errors are measured by."""
    truth, predicted, expected = CONSTANT[case]
    x, y = np.array(truth)[:, None] + shift, np.array(predicted)[:, None] + shift
    found = metrics.concordance_scores(metrics.moments(x, y)[0])
    assert found["CCC"] == pytest.approx(expected, abs=1e-6)
    varied = np.ptp(x) and np.ptp(y)
    assert found["Pearson"] == pytest.approx(np.sign(expected) if varied else 0.0, abs=1e-6)
    assert found["MAE"] == pytest.approx(np.abs(x - y).mean())
    assert metrics.concordance(x, y) == pytest.approx([expected], abs=1e-6)
    sums = np.stack([metrics.moments(x, y), metrics.moments(x, x)])
    assert metrics.mean_concordance(sums) == pytest.approx([expected, 1.0], abs=1e-6)


def test_one_clip_has_no_ccc_and_none_no_score() -> None:
    one = metrics.moments(np.array([[1.0]]), np.array([[1.5]]))
    assert metrics.concordance_scores(one[0]) == {"CCC": None, "Pearson": None, "MAE": 0.5}
    with np.errstate(all="raise"):
        assert np.isnan(metrics.mean_concordance(np.stack([one, 0 * one]))).all()
    with pytest.raises(ValueError, match="no clips"):
        metrics.concordance_scores(0 * one[0])


def test_means_are_over_the_scores_that_have_a_metric() -> None:
    rows = [{"CCC": 0.5}, {"CCC": None}, {"CCC": 0.1}]
    assert metrics.mean_scores(rows, ["CCC"]) == {"CCC": pytest.approx(0.3)}
    assert metrics.std_scores(rows, ["CCC"]) == {"CCC": pytest.approx(0.2)}
    with pytest.raises(ValueError, match="none of 1 scores has a CCC"):
        metrics.mean_scores([{"CCC": None}], ["CCC"])


def test_accuracy_is_a_share() -> None:
    truth, predicted = np.array([0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, 0])
    assert metrics.accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted)) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("value", "unit", "name", "shown"),
    [
        (None, "%", "", "–"),
        (None, "", "CCC", "–"),
        (70.26, "%", "", "70.3"),
        (70.26, "%", "UA", "70.3 % UA"),
        (0.12345, "", "", "0.123"),
        (0.12345, "", "CCC", "CCC 0.123"),
        (-0.0001, "", "", "0.000"),
        (-0.12345, "", "", "-0.123"),
    ],
)
def test_scores_as_they_are_shown(value: float | None, unit: str, name: str, shown: str) -> None:
    assert metrics.format_score(value, unit, name) == shown


def test_points_of_a_curve_are_some_of_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.random(400) < 0.3, random.random(400)
    false, true, _ = roc_curve(truth, scores)
    all_points = {(round(float(x), 4), round(float(y), 4)) for x, y in zip(false, true, strict=True)}
    points = metrics.roc_points(truth, scores)
    assert len(points) == 50 and set(points) <= all_points and points == sorted(points)
    assert points[0] == (0, 0) and points[-1] == (1, 1)
    assert len(metrics.roc_points(truth, scores, most=7)) == 7
    assert set(metrics.roc_points(truth, scores, most=10_000)) == all_points
    assert metrics.roc_points(np.array([True, False]), np.array([0.9, 0.1])) == [(0, 0), (0, 1), (1, 1)]
