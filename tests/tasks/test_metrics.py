from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, roc_auc_score

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
