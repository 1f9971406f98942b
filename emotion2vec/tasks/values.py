"""Values as what is predicted, such as arousal and valence, and how they are scored: by CCC.

N: clips. Q: dimensions of values. n: clips that are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.tasks.metrics import concordance_scores, mean_scores, moments


class Values:
    """Q values per clip, such as arousal and valence.

    Every metric is given per dimension (`CCC arousal`) and as their mean (`CCC`).
    """

    task = "regression"
    unit = ""
    main = "CCC"

    def __init__(self, clipset: Corpus, targets: Sequence[str]):
        self.names = tuple(targets)
        self.labels = np.array([[clip.values[name] for name in targets] for clip in clipset.utterances])  # (N, Q)
        several = tuple(f"CCC {name}" for name in targets)
        self.shown = ("CCC", *several) if len(targets) > 1 else ("CCC", "Pearson", "MAE")
        self._origin = self.labels.mean(axis=0)  # (Q,), so that sums of squares keep their digits

    def fault(self, rows: np.ndarray) -> str | None:
        """See `emotion2vec.tasks.targets.Goal`."""
        still = [name for name, spread in zip(self.names, np.ptp(self.labels[rows], axis=0), strict=True) if not spread]
        return f"{' and '.join(still)} has a single value in training, expected at least 2" if still else None

    def statistics(self, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """(Q, 7), see `moments`."""
        return moments(self.labels[rows] - self._origin, predicted - self._origin)

    def score(self, statistics: np.ndarray) -> dict[str, Any]:
        """CCC, Pearson's correlation and the mean absolute error, per dimension and as means."""
        found = [concordance_scores(row) for row in statistics]
        names = [metric for metric, value in found[0].items() if value is not None]
        mean = dict.fromkeys(found[0]) | mean_scores(found, names)
        each = {
            f"{metric} {name}": value
            for name, row in zip(self.names, found, strict=True)
            for metric, value in row.items()
        }
        return mean | each

    def constant(self, rows: np.ndarray) -> np.ndarray:
        """(Q,), the means."""
        answer: np.ndarray = self.labels[rows].mean(axis=0)
        return answer

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """Mean and standard deviation per dimension."""
        labels = self.labels[rows]
        return {
            name: {"mean": float(mean), "std": float(std)}
            for name, mean, std in zip(self.names, labels.mean(axis=0), labels.std(axis=0), strict=True)
        }

    def extra_scores(
        self, rows: np.ndarray, predicted: np.ndarray, temperature: float | None
    ) -> dict[str, float | None]:
        """None."""
        return {}

    def by_class(self, statistics: np.ndarray) -> dict[str, dict[str, float | None]] | None:
        """None."""
        return None

    def extra_entries(self, statistics: np.ndarray) -> dict[str, Any]:
        """None."""
        return {}
