"""Clips that others are compared with, which lie beside a model: where each emotion is in two dimensions.

N: clips of the reference. D: model width. Q: quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.assets import asset_folder
from emotion2vec.documents import read_json
from emotion2vec.errors import ConfigError

FILE = "reference.json"
"""What it is called in a model's folder."""


@dataclass(frozen=True)
class Reference:
    """Clips of a corpus as a model sees them.

    Attributes:
        about: what they are, in a sentence, with their licence.
        mean: (D,) that features are relative to.
        axes: (2, D) what two dimensions are made of.
        points: (N, 2).
        labels: of the N clips.
        same: (Q,) quantiles of the cosine of two speakers' clips with the same emotion, evenly spaced from 0 to 1.
        different: (Q,) the same of clips with different emotions.
    """

    about: str
    mean: np.ndarray
    axes: np.ndarray
    points: np.ndarray
    labels: Sequence[str]
    same: np.ndarray
    different: np.ndarray

    def place(self, vector: np.ndarray) -> np.ndarray:
        """Where features (D,) lie, (2,)."""
        placed: np.ndarray = self.axes @ (vector - self.mean)
        return placed


def read_reference(model: str, width: int, weights: str) -> Reference | None:
    """The reference of a model; None where it has none.

    Args:
        model: a folder, or the name of a model that ships with us.
        width: D.
        weights: hash of the model's weights, see `emotion2vec.model.fingerprint`.

    Raises:
        ConfigError: the file is broken, or of another model.
    """
    folder = Path(model) if Path(model).is_dir() else asset_folder("checkpoints") / model
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = read_json(path)
        names = ("mean", "axes", "points", "same", "different")
        arrays = {name: np.array(content[name], dtype=np.float64) for name in names}
        its_weights = content["weights"]
        found = Reference(str(content["about"]), labels=[str(one) for one in content["labels"]], **arrays)
        fits = found.mean.shape == (width,) and found.axes.shape == (2, width)
        fits &= found.points.shape == (len(found.labels), 2) and found.same.size > 1 < found.different.size
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(f"{path}: is no reference of a model: {type(error).__name__}: {error}") from error
    if not fits:
        raise ConfigError(f"{path}: its arrays do not fit a model of width {width} and each other")
    if its_weights != weights:
        raise ConfigError(f"{path}: it was made with other weights; examples/make_reference.py makes one with these")
    return found


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of two vectors (D,); 0 where one is all zeros."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 0.0


def share_below(value: float, quantiles: np.ndarray) -> float:
    """The share of a distribution below a value, from 0 to 1, given its quantiles (Q,), evenly spaced."""
    return float(np.interp(value, quantiles, np.linspace(0, 1, quantiles.size), left=0.0, right=1.0))
