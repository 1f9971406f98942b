"""The features of one clip, as NumPy arrays.

T: frames. D: model width. L: layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Features:
    """Frozen features of one clip.

    Attributes:
        frames: (T, D) float32, 50 per second of audio.
        layers: (L, T, D) float32 outputs of all blocks, prenet first, when asked for; the last equals `frames`.
    """

    frames: np.ndarray
    layers: np.ndarray | None = None

    @property
    def utterance(self) -> np.ndarray:
        """Mean over time of the frames, (D,) float32."""
        return self.frames.mean(axis=0, dtype=np.float64).astype(np.float32)
