"""What one fold gave with one seed. K: classes. Q: dimensions of values. n: clips of the test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emotion2vec.corpora.folds import Fold


@dataclass(frozen=True, kw_only=True)
class Distorted:
    """What is said of the same clips when their audio is distorted.

    Attributes:
        kind: of distortion, such as `pink noise`.
        level: how much of it, such as `SNR 10 dB`; empty where there is one.
        scores: (n, K or Q), as those of the clips as they are.
    """

    kind: str
    level: str
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one fold gave with one seed.

    Attributes:
        fold: the fold.
        seed: of training.
        test: (n,) positions of the clips that were tested.
        scores: (n, K or Q) of these, see `emotion2vec.probe.problem.Prediction`.
        details: what was chosen or learned on the way; a `temperature` calibrates `scores`.
        statistics: those of `Goal`, of all of these.
        distorted: of the same clips, under the same conditions in all folds.
    """

    fold: Fold
    seed: int
    test: np.ndarray
    scores: np.ndarray
    details: dict[str, Any]
    statistics: np.ndarray
    distorted: tuple[Distorted, ...] = ()
