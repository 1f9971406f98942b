"""The recipe of ridge regression, for values such as arousal.

N: clips. P: channels of a clip's vector. Q: dimensions of values. G: penalties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion2vec.model.heads import MeanLinear
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.parallel import stop_if_asked
from emotion2vec.probe.problem import Fitted, Problem, inner_splits
from emotion2vec.tasks.metrics import concordance
from emotion2vec.tasks.scaling import Scaling


@dataclass(frozen=True, kw_only=True)
class RidgeHead:
    """Linear regression with an L2 penalty on standardized clip vectors (scikit-learn).

    The penalty of each dimension is the one of `grid` with the best mean CCC in a cross-validation within the training
    and validation clips, by whole speakers where folds are (GroupKFold), the largest of equals; the final fit is on
    all of them. Penalties are per clip that is fitted, so that they mean the same in corpora of any size. Vectors are
    always standardized, with the statistics of the clips that are fitted.
    """

    name: str = "ridge"
    kinds: tuple[str, ...] = ("regression",)
    needs: str = "vectors"
    grid: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    inner_folds: int = 5

    def prepare(self, table: FeatureTable, device: str) -> np.ndarray:
        """The clip vectors."""
        return table.vectors

    def fit(self, data: np.ndarray, problem: Problem) -> Fitted:
        """Choose penalties within the training clips, fit on all of them, predict the test clips."""
        rows = np.sort(np.concatenate([problem.train, problem.valid]))
        penalties = sorted(self.grid, reverse=True)
        agreement = [
            self._path(data, problem, fitted, held, penalties)
            for fitted, held in inner_splits(problem, rows, self.inner_folds)
        ]
        best = [penalties[place] for place in np.mean(agreement, axis=0).argmax(axis=0)]  # (Q,)
        scaling = Scaling.of(data[rows])
        scaled = scaling.apply(data)
        regression = _fit(scaled[rows], problem.labels[rows], np.array(best))
        head = MeanLinear.of(regression.coef_.reshape(len(best), -1), regression.intercept_)
        head.standardize(scaling)
        scores = _answers(regression, scaled[problem.test])
        return Fitted(head=head, scores=scores, details={"penalties": best})

    def _path(
        self, data: np.ndarray, problem: Problem, fitted: np.ndarray, held: np.ndarray, penalties: list[float]
    ) -> np.ndarray:
        """(G, Q) CCC on the held clips."""
        scaled, labels = Scaling.of(data[fitted]).apply(data), problem.labels
        agreement = []
        for penalty in penalties:
            stop_if_asked()
            regression = _fit(scaled[fitted], labels[fitted], np.full(labels.shape[1], penalty))
            agreement.append(concordance(labels[held], _answers(regression, scaled[held])))
        return np.array(agreement)


def _fit(scaled: np.ndarray, labels: np.ndarray, penalties: np.ndarray) -> Any:
    """A regression of values (n, Q) on vectors (n, P) with a penalty per dimension (Q,)."""
    from sklearn.linear_model import Ridge

    return Ridge(alpha=penalties * len(scaled)).fit(scaled, labels)


def _answers(regression: Any, scaled: np.ndarray) -> np.ndarray:
    """Values (n, Q) of vectors (n, P)."""
    answers: np.ndarray = regression.predict(scaled).reshape(len(scaled), -1)
    return answers
