"""What a probe predicts and how that is scored: classes by WA, UA and F1, or values by CCC.

Scores come from statistics that add up over clips, so that folds, speakers and bootstrap draws are sums of them.

N: clips. K: classes. Q: dimensions of values. n: clips that are scored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.tasks.calibration import calibration_error, probabilities_of
from emotion2vec.tasks.metrics import (
    METRICS,
    class_roc_auc,
    class_scores,
    confusion_matrix,
    roc_auc,
    scores,
)
from emotion2vec.tasks.sentiment import Sentiment, is_sentiment
from emotion2vec.tasks.values import Values


class Goal(Protocol):
    """What is predicted of each clip.

    Attributes:
        task: `classification` or `regression`.
        unit: of the scores, `%` or nothing.
        shown: metrics that tables show.
        main: the metric that ranks features.
        names: of the outputs, classes or dimensions.
        labels: (N,) class numbers, −1 where unknown, or (N, Q) values.
    """

    task: str
    unit: str
    shown: tuple[str, ...]
    main: str
    names: tuple[str, ...]
    labels: np.ndarray

    def fault(self, rows: np.ndarray) -> str | None:
        """Why nothing can be learned from these clips, or None."""
        ...

    def statistics(self, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """What scores are computed from; adds up over clips. `predicted` (n, K or Q) is of the clips at `rows`."""
        ...

    def score(self, statistics: np.ndarray) -> dict[str, Any]:
        """All metrics of a sum of statistics; None for those that so few clips do not have."""
        ...

    def constant(self, rows: np.ndarray) -> np.ndarray:
        """The answer (K or Q,) of one who has only seen the labels of these clips."""
        ...

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """What the labels of these clips are like, per class that occurs or per dimension."""
        ...

    def extra_scores(
        self, rows: np.ndarray, predicted: np.ndarray, temperature: float | None
    ) -> dict[str, float | None]:
        """Scores that statistics do not give; `temperature` calibrates probabilities, where it is known."""
        ...

    def by_class(self, statistics: np.ndarray) -> dict[str, dict[str, float | None]] | None:
        """Scores of each class; None of values."""
        ...

    def extra_entries(self, statistics: np.ndarray) -> dict[str, Any]:
        """What else a report shows of statistics."""
        ...


class Classes:
    """One of K classes per clip: those that a corpus has, or more of them."""

    task = "classification"
    unit = "%"
    shown: tuple[str, ...] = METRICS
    main = "UA"

    def __init__(self, clipset: Corpus, names: Sequence[str] = ()):
        self.names = tuple(names) or clipset.classes
        number = {label: position for position, label in enumerate(self.names)}
        self.labels = np.array([number.get(clip.label or "", -1) for clip in clipset.utterances], np.int64)  # (N,)

    def fault(self, rows: np.ndarray) -> str | None:
        """See `Goal`."""
        found = len(set(self.labels[rows]))
        return f"training has clips of {found} class, expected at least 2" if found < 2 else None

    def statistics(self, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """The confusion matrix (K, K), rows are the truth."""
        return confusion_matrix(self.labels[rows], predicted.argmax(axis=1), len(self.names))

    def score(self, statistics: np.ndarray) -> dict[str, Any]:
        """WA, UA, WF1 and MF1 in percent."""
        return scores(statistics)

    def constant(self, rows: np.ndarray) -> np.ndarray:
        """(K,), 1 for the most frequent class."""
        counts = np.bincount(self.labels[rows], minlength=len(self.names))  # (K,)
        answer: np.ndarray = np.eye(len(self.names))[counts.argmax()]
        return answer

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """Number of clips per class."""
        return dict(sorted(Counter(self.names[number] for number in self.labels[rows]).items()))

    def extra_scores(
        self, rows: np.ndarray, predicted: np.ndarray, temperature: float | None
    ) -> dict[str, float | None]:
        """The area under the ROC curve, of each class too, and the calibration error without and with a temperature."""
        truth = self.labels[rows]
        areas = class_roc_auc(truth, predicted)
        calibrated = None if temperature is None else calibration_error(truth, probabilities_of(predicted, temperature))
        return {
            "AUC": roc_auc(truth, predicted),
            **{f"AUC {name}": area for name, area in zip(self.names, areas, strict=True)},
            "ECE": calibration_error(truth, probabilities_of(predicted)),
            "ECE calibrated": calibrated,
        }

    def by_class(self, statistics: np.ndarray) -> dict[str, dict[str, float | None]] | None:
        """Precision, recall and F1 in percent, and clips."""
        return dict(zip(self.names, class_scores(statistics), strict=True))

    def extra_entries(self, statistics: np.ndarray) -> dict[str, Any]:
        """The confusion matrix."""
        return {"confusion": statistics.tolist()}


def check_tests(goal: Goal, tests: Sequence[np.ndarray]) -> None:
    """Check that a score can be had of some fold.

    Args:
        goal: what is predicted.
        tests: positions of the clips that each fold tests.

    Raises:
        ConfigError: values are predicted and every fold tests a single clip, of which there is no CCC, or sentiment is,
            and that of all clips is 0.
    """
    if isinstance(goal, Sentiment) and not any(goal.labels[rows].any() for rows in tests):
        raise ConfigError("the sentiment of all clips that are tested is 0, expected some below and above")
    if goal.task == "regression" and max(map(len, tests)) < 2:
        raise ConfigError(
            f"each of the {len(tests)} folds tests a single clip, which has no {goal.main}; expected folds of several "
            "clips, such as speaker:K"
        )


def make_goal(clipset: Corpus, targets: Sequence[str] = ()) -> Goal:
    """Classes, or the values of these names."""
    if not targets:
        return Classes(clipset)
    return Sentiment(clipset) if is_sentiment(clipset, targets) else Values(clipset, targets)


def with_values(clipset: Corpus, targets: Sequence[str]) -> Corpus:
    """Keep the clips that have all these values; the others are named as left out.

    Raises:
        ManifestError: no clip has one of them.
    """
    known = sorted({name for clip in clipset.utterances for name in clip.values})
    if absent := [name for name in targets if name not in known]:
        raise ManifestError(
            f"{clipset.name}: no clip has a value of {examples(absent)}, expected one of {', '.join(known) or 'none'}"
        )
    lacking = [[name for name in targets if name not in clip.values] for clip in clipset.utterances]
    reasons = {
        clip.stretch: f"no value of {', '.join(names)}"
        for clip, names in zip(clipset.utterances, lacking, strict=True)
        if names
    }
    return clipset.keep([not names for names in lacking], reasons)


def task_kind(targets: Sequence[str], context: int) -> str:
    """What is learnt, of these values, or of a turn after so many others."""
    return "conversation" if context else "regression" if targets else "classification"
