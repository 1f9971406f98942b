"""What a head is given, what it answers, and what it has to be.

N: clips. P: channels of a clip's vector. K: classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emotion2vec.probe.store import FeatureTable, nonzero_scale


@dataclass(frozen=True, kw_only=True)
class Task:
    """One fold to train and test on; the position arrays refer to the table's clips.

    Attributes:
        labels: (N,) class numbers.
        classes: K.
        speakers: (N,) speaker of each clip, or None where training and test share speakers or speakers are unknown.
        train: positions of the clips that train.
        valid: positions of the clips that choose epoch and settings.
        test: positions of the clips to predict.
        standardize: shift and scale each channel to mean 0 and deviation 1 over the training clips.
        seed: of weights and batch order.
    """

    labels: np.ndarray
    classes: int
    speakers: np.ndarray | None
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    standardize: bool
    seed: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a head says about the test clips.

    Attributes:
        scores: (len(test), K), higher for the likelier class; comparable between clips.
        details: what was chosen or learned on the way: `C`, `epoch`, `layer_weights`.
    """

    scores: np.ndarray
    details: dict[str, Any]

    @property
    def classes(self) -> np.ndarray:
        """(len(test),) class numbers."""
        return self.scores.argmax(axis=1)


class Head(Protocol):
    """A kind of head with its settings."""

    @property
    def name(self) -> str:
        """Name in tables and JSON."""
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
