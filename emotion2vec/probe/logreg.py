"""The recipe of logistic regression.

N: clips. P: channels of a clip's vector. K: classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion2vec.model.heads import MeanLinear
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.parallel import stop_if_asked
from emotion2vec.probe.problem import Fitted, Problem, inner_splits
from emotion2vec.tasks.metrics import accuracy
from emotion2vec.tasks.scaling import Scaling


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

    def fit(self, data: np.ndarray, problem: Problem) -> Fitted:
        """Choose C within the training clips, fit on all of them, predict the test clips."""
        rows = np.sort(np.concatenate([problem.train, problem.valid]))
        found = [
            self._path(data, problem, fitted, held)
            for fitted, held in inner_splits(problem, rows, self.inner_folds)
            if len(set(problem.labels[fitted])) > 1
        ]
        mean = np.mean(found, axis=0) if found else np.zeros(len(self.grid))
        best = sorted(self.grid)[int(np.argmax(mean))]
        scaling = Scaling.of(data[rows])
        scaled = scaling.apply(data)
        regression = self._regression(best).fit(scaled[rows], problem.labels[rows])
        scores = np.zeros((len(problem.test), problem.outputs))
        scores[:, regression.classes_] = regression.predict_proba(scaled[problem.test])
        head = linear_head(regression, problem.outputs)
        head.standardize(scaling)
        return Fitted(head=head, scores=scores, details={"C": best})

    def _path(self, data: np.ndarray, problem: Problem, fitted: np.ndarray, held: np.ndarray) -> list[float]:
        """WA on held clips for every C in rising order, each fit starting where the last one ended."""
        scaled = Scaling.of(data[fitted]).apply(data)
        regression = self._regression(self.grid[0]).set_params(warm_start=True)
        found = []
        for c in sorted(self.grid):
            stop_if_asked()
            regression.set_params(C=c).fit(scaled[fitted], problem.labels[fitted])
            found.append(accuracy(problem.labels[held], regression.predict(scaled[held])))
        return found

    def _regression(self, inverse_penalty: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=inverse_penalty, tol=self.tolerance, max_iter=self.max_iterations)


def linear_head(regression: Any, outputs: int) -> MeanLinear:
    """The head whose softmax is the `predict_proba` of a fitted LogisticRegression; 0 for classes that it never saw."""
    weight, bias = np.zeros((outputs, regression.coef_.shape[1])), np.full(outputs, -np.inf)
    if len(regression.classes_) == 2:  # scikit-learn keeps the difference of two classes alone
        weight[regression.classes_[1]] = regression.coef_[0]
        bias[regression.classes_] = 0, regression.intercept_[0]
    else:
        weight[regression.classes_], bias[regression.classes_] = regression.coef_, regression.intercept_
    return MeanLinear.of(weight, bias)
