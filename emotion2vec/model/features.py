"""The features of one clip, as NumPy arrays.

T: frames. D: model width. L: layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE, WAVEFORM_GRID
from emotion2vec.notebooks import Shown, Table
from emotion2vec.units import duration

RATE = SAMPLE_RATE / WAVEFORM_GRID.stride
"""Frames in a second of audio."""


@dataclass(frozen=True, repr=False)
class Features(Shown):
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

    def _said(self) -> str:
        return ", ".join(f"{value} {name}".strip() for name, value in self._facts())

    def _table(self) -> Table:
        return (), [[name, value] for name, value in self._facts()]

    def _facts(self) -> list[tuple[str, str]]:
        count, width = self.frames.shape[0], self.frames.shape[-1]
        facts = [("frames", f"{count:,}"), ("channels", f"{width:,}"), ("frames a second", f"{RATE:g}")]
        facts.append(("of audio", duration(count / RATE)))
        return facts if self.layers is None else [*facts, ("layers", str(len(self.layers)))]
