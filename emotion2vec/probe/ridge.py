"""Ridge regression as a probing head for values such as arousal.

N: clips. P: channels of a clip's vector. Q: dimensions of values. G: penalties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.parallel import stop_if_asked
from emotion2vec.probe.tasks import Prediction, Task, inner_splits, standardized
from emotion2vec.tasks.metrics import concordance


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

    def predict(self, data: np.ndarray, task: Task) -> Prediction:
        """Choose penalties within the training clips, fit on all of them, predict the test clips."""
        rows = np.sort(np.concatenate([task.train, task.valid]))
        penalties = sorted(self.grid, reverse=True)
        agreement = [
            self._path(data, task, fitted, held, penalties)
            for fitted, held in inner_splits(task, rows, self.inner_folds)
        ]
        best = [penalties[place] for place in np.mean(agreement, axis=0).argmax(axis=0)]  # (Q,)
        scores = _fit_predict(standardized(data, rows), task, rows, task.test, np.array(best))
        return Prediction(scores=scores, details={"penalties": best})

    def _path(
        self, data: np.ndarray, task: Task, fitted: np.ndarray, held: np.ndarray, penalties: list[float]
    ) -> np.ndarray:
        """(G, Q) CCC on the held clips."""
        scaled, truth, width = standardized(data, fitted), task.labels[held], task.labels.shape[1]
        agreement = []
        for penalty in penalties:
            stop_if_asked()
            answer = _fit_predict(scaled, task, fitted, held, np.full(width, penalty))  # (held, Q)
            agreement.append([concordance(truth[:, q], answer[:, q]) for q in range(width)])
        return np.array(agreement)


def _fit_predict(
    scaled: np.ndarray, task: Task, fitted: np.ndarray, asked: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """Values (len(asked), Q) by a regression on the fitted clips with a penalty per dimension (Q,)."""
    from sklearn.linear_model import Ridge

    regression = Ridge(alpha=penalties * len(fitted)).fit(scaled[fitted], task.labels[fitted])
    answers: np.ndarray = regression.predict(scaled[asked]).reshape(len(asked), -1)  # (asked, Q)
    return answers
