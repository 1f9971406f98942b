"""What an extractor is, and what it gives of a clip.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from emotion2vec.corpora.utterance import Utterance


@dataclass(frozen=True)
class ClipFeatures:
    """Features of one clip.

    Attributes:
        vector: (P,) float32.
        frames: (T, D) float32, or None where the extractor gives none or they are not wanted.
        layers: number of layers whose vectors are joined in `vector`.
    """

    vector: np.ndarray
    frames: np.ndarray | None
    layers: int = 1

    def without_frames(self) -> ClipFeatures:
        """The same vector alone."""
        return ClipFeatures(self.vector, None, self.layers)


class Extractor(Protocol):
    """Turns clips into features.

    Attributes:
        name: in tables and JSON.
        fingerprint: names all that its numbers depend on beside what it reads.
        reads: of every clip, `audio`, `text` or both.
    """

    name: str
    fingerprint: str

    @property
    def reads(self) -> tuple[str, ...]:
        """See the class."""
        ...

    def extract(self, clips: Sequence[Utterance]) -> Sequence[ClipFeatures | str]:
        """Features of each clip in order, or the reason why a clip has none."""
        ...


def pool(frames: np.ndarray, pooling: str) -> np.ndarray:
    """Summarize frames (T, D) over time: their mean (D,), or mean and standard deviation (2 D,), float32."""
    mean = frames.mean(axis=0, dtype=np.float64)
    if pooling == "mean":
        return mean.astype(np.float32)
    return np.concatenate([mean, frames.std(axis=0, dtype=np.float64)]).astype(np.float32)
