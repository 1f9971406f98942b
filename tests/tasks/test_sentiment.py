"""Scores of sentiment, against scikit-learn, SciPy and closed formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.tasks.sentiment import Sentiment
from emotion2vec.tasks.significance import bootstrap_intervals
from emotion2vec.tasks.targets import check_tests, make_goal
from emotion2vec.tasks.values import Values


def corpus(values: np.ndarray, name: str = "sentiment") -> Corpus:
    clips = [Utterance(id=f"{i}", audio=Path(), values={name: float(value)}) for i, value in enumerate(values)]
    return Corpus(name="made", root=Path(), utterances=tuple(clips))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Labels of MOSI's kind: means of raters, a tenth of them 0."""
    random = np.random.default_rng(0)
    values: np.ndarray = random.integers(-15, 16, 400) / 5
    values[::10] = 0
    return values


def test_sentiment_is_scored_as_scikit_learn_scores_it(truth: np.ndarray) -> None:
    goal, random = make_goal(corpus(truth), ["sentiment"]), np.random.default_rng(1)
    assert isinstance(goal, Sentiment)
    predicted = truth * 0.7 + random.normal(0, 1.2, len(truth))
    predicted[:4], predicted[4:8] = (0.0, 3.9, -7.0, 2.5), (-0.0, 0.5, 1.5, -1.5)
    rows = np.arange(len(truth))
    found = goal.score(goal.statistics(rows, predicted[:, None]))
    other = truth != 0
    assert found["Acc-2 with 0"] == pytest.approx(accuracy_score(truth >= 0, predicted >= 0))
    assert found["F1 with 0"] == pytest.approx(f1_score(truth >= 0, predicted >= 0, average="weighted"))
    signed = truth[other] > 0, predicted[other] > 0
    assert found["Acc-2 without 0"] == pytest.approx(accuracy_score(*signed))
    assert found["F1 without 0"] == pytest.approx(f1_score(*signed, average="weighted"))
    seven = [np.round(np.clip(values, -3, 3)) for values in (truth, predicted)]
    assert found["Acc-7"] == pytest.approx(accuracy_score(*seven))
    assert found["MAE"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert found["Pearson"] == pytest.approx(pearsonr(truth, predicted).statistic)
    cov = np.cov(truth, predicted, bias=True)
    ccc = 2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (truth.mean() - predicted.mean()) ** 2)
    assert found["CCC"] == pytest.approx(ccc)
    assert set(goal.shown) == set(found)
    parts = [goal.statistics(part, predicted[part, None]) for part in np.array_split(rows, 7)]
    assert goal.score(np.sum(parts, axis=0)) == pytest.approx(found)  # statistics add up


def test_neutral_clips_alone_have_no_score_without_zeros(truth: np.ndarray) -> None:
    goal = Sentiment(corpus(truth))
    zeros, others = np.flatnonzero(truth == 0)[:3], np.flatnonzero(truth > 0)[:3]
    found = goal.score(goal.statistics(zeros, np.ones((3, 1))))
    assert (found["Acc-2 with 0"], found["Acc-2 without 0"], found["F1 without 0"]) == (1.0, None, None)
    parts = np.stack([goal.statistics(rows, np.ones((3, 1))) for rows in (zeros, others)])
    assert bootstrap_intervals(parts, goal.score, resamples=50)["Acc-2 without 0"] == (1.0, 1.0)
    with pytest.raises(ConfigError, match="the sentiment of all clips that are tested is 0"):
        check_tests(goal, [zeros])
    check_tests(goal, [zeros, others])


@pytest.mark.parametrize(("values", "name"), [([0, 0.5, 1], "sentiment"), ([-5, 1, 5], "sentiment"), ([-1, 1], "x")])
def test_other_scales_are_values_like_any(values: list[float], name: str) -> None:
    goal = make_goal(corpus(np.array(values), name), [name])
    assert isinstance(goal, Values) and not isinstance(goal, Sentiment)
