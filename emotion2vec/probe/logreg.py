"""Logistic regression as a probing head.

N: clips. P: channels of a clip's vector. K: classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.parallel import stop_if_asked
from emotion2vec.probe.tasks import Prediction, Task, inner_splits, standardized


@dataclass(frozen=True, kw_only=True)
class LogisticRegressionHead:
    """Multinomial logistic regression on standardized clip vectors (scikit-learn, L2).

    The inverse penalty C is the one of `grid` with the best mean WA in a cross-validation within the training and
    validation clips, by whole speakers where folds are (GroupKFold), the smallest of equals; the final fit is on all
    of them. Vectors are always standardized, with the statistics of the clips that are fitted, for the penalty treats
    channels alike.
    """

    name: str = "logreg"
    kinds: tuple[str, ...] = ("classification",)
    needs: str = "vectors"
    grid: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    inner_folds: int = 5
    tolerance: float = 1e-3
    max_iterations: int = 1000

    def prepare(self, table: FeatureTable, device: str) -> np.ndarray:
        """The clip vectors."""
        return table.vectors

    def predict(self, data: np.ndarray, task: Task) -> Prediction:
        """Choose C within the training clips, fit on all of them, predict the test clips."""
        rows = np.sort(np.concatenate([task.train, task.valid]))
        accuracy = [
            self._path(data, task, fitted, held)
            for fitted, held in inner_splits(task, rows, self.inner_folds)
            if len(set(task.labels[fitted])) > 1
        ]
        mean = np.mean(accuracy, axis=0) if accuracy else np.zeros(len(self.grid))
        best = sorted(self.grid)[int(np.argmax(mean))]
        scaled = standardized(data, rows)
        regression = self._regression(best).fit(scaled[rows], task.labels[rows])
        scores = np.zeros((len(task.test), task.outputs))
        scores[:, regression.classes_] = regression.predict_proba(scaled[task.test])
        return Prediction(scores=scores, details={"C": best})

    def _path(self, data: np.ndarray, task: Task, fitted: np.ndarray, held: np.ndarray) -> list[float]:
        """WA on held clips for every C in rising order, each fit starting where the last one ended."""
        scaled = standardized(data, fitted)
        regression = self._regression(self.grid[0]).set_params(warm_start=True)
        accuracy = []
        for c in sorted(self.grid):
            stop_if_asked()
            regression.set_params(C=c).fit(scaled[fitted], task.labels[fitted])
            accuracy.append(regression.score(scaled[held], task.labels[held]))
        return accuracy

    def _regression(self, inverse_penalty: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=inverse_penalty, tol=self.tolerance, max_iter=self.max_iterations)
