"""What is given to train a head, what comes of it, and what a kind of head has to be.

N: clips. P: channels of a clip's vector. K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from emotion2vec.corpora.conversations import Contexts
from emotion2vec.model.heads import Head
from emotion2vec.probe.features.table import FeatureTable


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fold to train and test on; the position arrays refer to the table's clips.

    Attributes:
        labels: (N,) class numbers, or (N, Q) values.
        outputs: of the head: K, one per class, or Q, one per dimension of values.
        speakers: (N,) speaker of each clip, or None where training and test share speakers or speakers are unknown.
        train: positions of the clips that train.
        valid: positions of the clips that choose epoch and settings.
        test: positions of the clips to predict.
        standardize: shift and scale each channel to mean 0 and deviation 1 over the training clips.
        seed: of weights and batch order.
        contexts: in conversations, what is heard for each turn that is predicted, in place of the clip itself.
    """

    labels: np.ndarray
    outputs: int
    speakers: np.ndarray | None
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    standardize: bool
    seed: int
    contexts: Contexts | None = None

    @property
    def continuous(self) -> bool:
        """Whether values are predicted, not classes."""
        return self.labels.ndim == 2

    def generator(self) -> torch.Generator:
        """What the first weights of a network are drawn from."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a head says about the test clips.

    Attributes:
        scores: (len(test), K), higher for the likelier class and comparable between clips; or values (len(test), Q).
        details: what was chosen or learned on the way: `C`, `update`, `layer_weights`.
    """

    scores: np.ndarray
    details: dict[str, Any]

    @property
    def classes(self) -> np.ndarray:
        """(len(test),) class numbers."""
        return self.scores.argmax(axis=1)


@dataclass(frozen=True, kw_only=True)
class Fitted(Prediction):
    """What training gave.

    Attributes:
        head: the network with its best weights; it reads an encoder's frames as they are. Of its scores come `scores`:
            values as they are, classes by softmax or its logarithm.
    """

    head: Head

    def without_head(self) -> Prediction:
        """What is kept of many folds, whose heads would fill the memory."""
        return Prediction(scores=self.scores, details=self.details)


class HeadRecipe(Protocol):
    """A kind of head, and how it is trained on stored features."""

    @property
    def name(self) -> str:
        """Name in tables and JSON."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it can learn: `classification` and `regression` of clips, or the next turn of a `conversation`."""
        ...

    @property
    def needs(self) -> str:
        """What it reads: `vectors`, `frames`, or the vectors of all `layers`."""
        ...

    def prepare(self, table: FeatureTable, device: str) -> Any:
        """Bring the features into the form that `fit` reads, once for all folds."""
        ...

    def fit(self, data: Any, problem: Problem) -> Fitted:
        """Train on the fold and predict its test clips, once; called from several threads."""
        ...


def inner_splits(problem: Problem, rows: np.ndarray, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide training clips for choosing a setting: by whole speakers where the outer folds are, else at random.

    Args:
        problem: the fold, whose test clips are not among `rows`.
        rows: positions of the clips.
        folds: how many parts at most.

    Returns:
        Positions to fit on and to compare on, once per part.
    """
    from sklearn.model_selection import GroupKFold, KFold

    speakers = None if problem.speakers is None else problem.speakers[rows]
    if speakers is not None and len(set(speakers)) > 1:
        splits = GroupKFold(min(folds, len(set(speakers)))).split(rows, groups=speakers)
    else:
        splits = KFold(min(folds, len(rows)), shuffle=True, random_state=problem.seed).split(rows)
    return [(rows[fitted], rows[held]) for fitted, held in splits]
