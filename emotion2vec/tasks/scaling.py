"""Mean and deviation that channels of features, or values to be predicted, are standardized by.

n: rows. P: channels, of one or more axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scaling:
    """Channels become (x − shift) / scale.

    Attributes:
        shift: (P) float64.
        scale: (P) float64, 1 for channels that are constant up to float32 rounding, which are only shifted.
    """

    shift: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Scaling:
        """What brings the channels of these rows (n, P) to mean 0 and deviation 1."""
        return cls._of(rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64))

    @classmethod
    def of_sums(cls, total: np.ndarray, squares: np.ndarray, count: int) -> Scaling:
        """The same of so many rows, from their sum (P) and the sum of their squares (P)."""
        mean = total / count
        return cls._of(mean, np.sqrt(np.maximum(squares / count - mean**2, 0)))

    @classmethod
    def _of(cls, mean: np.ndarray, std: np.ndarray) -> Scaling:
        return cls(mean, np.where(std > 1e-6 * np.abs(mean) + 1e-30, std, 1.0))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Standardized rows (n, P), float32."""
        return ((rows - self.shift) / self.scale).astype(np.float32)
