"""Clips that were heard, so that another option, model or view does not need them again.

S: samples. W: windows. K: labels. D: model width. P: columns of a picture.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.serve.child import Answer
from emotion2vec.serve.engine import Clip

MOST_BYTES = 8 << 30
"""Of audio on disk; the clips that nobody looked at for longest give way."""

COLUMNS = 1000
"""Columns P of a waveform's picture."""

SILENCE = 1e-4
"""Samples below this, 80 dB below full scale, are not heard."""


@dataclass
class Heard:
    """A clip on the shelf.

    Attributes:
        key: nobody guesses it.
        name: as whoever sent it called it.
        path: of its samples, as 32-bit floats at 16 kHz, which browsers play.
        seconds: its length.
        notes: what decoding said of it.
        origin: kind, sample rate in Hz and channels of the file.
        peaks: (2, P) least and greatest samples of each column.
        said: answers of models, by model and window.
        vectors: (D,) features of the utterance, by model.
    """

    key: str
    name: str
    path: Path
    seconds: float
    notes: tuple[str, ...]
    origin: Mapping[str, Any]
    peaks: np.ndarray
    said: dict[tuple[str, float | None], Answer] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear."""
        return float(np.abs(self.peaks).max()) < SILENCE

    def clip(self) -> Clip:
        """Its samples, from disk."""
        samples, _ = soundfile.read(self.path, dtype="float32")
        return Clip(self.name, samples, self.notes, self.origin)


class Shelf:
    """Holds clips in a folder that is gone with it.

    Args:
        folder: empty, and removed by whoever made it.
        most: bytes that it may take.
    """

    def __init__(self, folder: Path, most: int = MOST_BYTES):
        self._folder, self._most = folder, most
        self._clips: OrderedDict[str, Heard] = OrderedDict()

    def put(self, clip: Clip) -> Heard:
        """Keep a clip."""
        key = secrets.token_urlsafe(16)
        path = self._folder / f"{key}.wav"
        soundfile.write(path, clip.samples, SAMPLE_RATE, subtype="FLOAT")
        heard = Heard(key, clip.name, path, clip.seconds, clip.notes, clip.origin, peaks_of(clip.samples))
        self._clips[key] = heard
        while len(self._clips) > 1 and sum(self._size(one) for one in self._clips.values()) > self._most:
            _, old = self._clips.popitem(last=False)
            old.path.unlink(missing_ok=True)
        return heard

    def get(self, key: str) -> Heard | None:
        """A clip; None where it gave way."""
        heard = self._clips.get(key)
        if heard is not None:
            self._clips.move_to_end(key)
        return heard

    @staticmethod
    def _size(heard: Heard) -> int:
        return round(heard.seconds * SAMPLE_RATE) * 4


def peaks_of(samples: np.ndarray, columns: int = COLUMNS) -> np.ndarray:
    """Least and greatest samples (2, P) of the columns of a picture; fewer columns where there are fewer samples.

    Args:
        samples: (S,), at least one.
        columns: P.
    """
    edges = np.linspace(0, samples.size, min(columns, samples.size) + 1).astype(int)[:-1]
    return np.stack([np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)])
