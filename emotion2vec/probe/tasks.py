"""What a head is given, what it answers, and what it has to be.

N: clips. P: channels of a clip's vector. K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emotion2vec.corpora.conversations import Contexts
from emotion2vec.probe.features.table import FeatureTable, nonzero_scale


@dataclass(frozen=True, kw_only=True)
class Task:
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


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a head says about the test clips.

    Attributes:
        scores: (len(test), K), higher for the likelier class and comparable between clips; or values (len(test), Q).
        details: what was chosen or learned on the way: `C`, `epoch`, `layer_weights`.
    """

    scores: np.ndarray
    details: dict[str, Any]

    @property
    def classes(self) -> np.ndarray:
        """(len(test),) class numbers."""
        return self.scores.argmax(axis=1)


def task_kind(targets: Sequence[str], context: int) -> str:
    """What is learnt, in the words of `Head.kinds`, where these values or a turn after so many others are predicted."""
    return "conversation" if context else "regression" if targets else "classification"


class Head(Protocol):
    """A kind of head with its settings."""

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
        """Bring the features into the form that `predict` reads, once for all folds."""
        ...

    def predict(self, data: Any, task: Task) -> Prediction:
        """Train on the fold and predict its test clips, once; called from several threads."""
        ...


def standardized(vectors: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Shift and scale the channels of all vectors (N, P) to mean 0 and deviation 1 over the fitted clips.

    Channels that are constant there, up to rounding, are only shifted. Returns (N, P) float32.
    """
    mean = vectors[fitted].mean(axis=0, dtype=np.float64)
    std = vectors[fitted].std(axis=0, dtype=np.float64)
    return ((vectors - mean) / nonzero_scale(mean, std)).astype(np.float32)


def inner_splits(task: Task, rows: np.ndarray, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide training clips for choosing a setting: by whole speakers where the outer folds are, else at random.

    Args:
        task: the fold, whose test clips are not among `rows`.
        rows: positions of the clips.
        folds: how many parts at most.

    Returns:
        Positions to fit on and to compare on, once per part.
    """
    from sklearn.model_selection import GroupKFold, KFold

    speakers = None if task.speakers is None else task.speakers[rows]
    if speakers is not None and len(set(speakers)) > 1:
        splits = GroupKFold(min(folds, len(set(speakers)))).split(rows, groups=speakers)
    else:
        splits = KFold(min(folds, len(rows)), shuffle=True, random_state=task.seed).split(rows)
    return [(rows[fitted], rows[held]) for fitted, held in splits]
