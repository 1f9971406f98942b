"""Clips that were heard, so that another option, model or view does not need them again.

S: samples. W: windows. K: labels. D: model width. P: columns of a picture.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.serve.child import Answer
from emotion2vec.serve.engine import Clip

MOST_BYTES, MOST_CLIPS = 8 << 30, 4000
"""Of audio on disk, at most half of what is free there, and clips; those that nobody looked at for longest give way."""

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
        came: when, by the clock of `time.monotonic`.
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
    came: float = field(default_factory=time.monotonic)

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear."""
        return float(np.abs(self.peaks).max()) < SILENCE

    def clip(self) -> Clip:
        """Its samples, from disk."""
        samples, _ = soundfile.read(self.path, dtype="float32")
        return Clip(self.name, samples, self.notes, self.origin)


class Shelf:
    """Holds clips in a folder that is gone with it; threads may use it side by side.

    Args:
        folder: empty, and removed by whoever made it.
        most: bytes that it may take; by default `MOST_BYTES`.
        clips: that it may have.
    """

    def __init__(self, folder: Path, most: int | None = None, clips: int = MOST_CLIPS):
        self._folder, self._most_clips = folder, clips
        self._most = min(MOST_BYTES, shutil.disk_usage(folder).free // 2) if most is None else most
        self._clips: OrderedDict[str, Heard] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, clip: Clip) -> Heard:
        """Keep a clip."""
        key = secrets.token_urlsafe(16)
        path = self._folder / f"{key}.wav"
        soundfile.write(path, clip.samples, SAMPLE_RATE, subtype="FLOAT")
        heard = Heard(key, clip.name, path, clip.seconds, clip.notes, clip.origin, peaks_of(clip.samples))
        old = []
        with self._lock:
            self._clips[key] = heard
            self._bytes += self._size(heard)
            while len(self._clips) > 1 and (self._bytes > self._most or len(self._clips) > self._most_clips):
                old.append(self._clips.popitem(last=False)[1])
                self._bytes -= self._size(old[-1])
        for one in old:
            one.path.unlink(missing_ok=True)
        return heard

    def get(self, key: str) -> Heard | None:
        """A clip; None where it gave way."""
        with self._lock:
            heard = self._clips.get(key)
            if heard is not None:
                self._clips.move_to_end(key)
            return heard

    def remove(self, key: str) -> None:
        """Let go of a clip, and of its file."""
        with self._lock:
            heard = self._clips.pop(key, None)
            self._bytes -= 0 if heard is None else self._size(heard)
        if heard is not None:
            heard.path.unlink(missing_ok=True)

    def keep(self, keys: Collection[str], age: float) -> None:
        """Let go of all clips but these, and those that came in the last so many s."""
        since = time.monotonic() - age
        with self._lock:
            old = [one.key for one in self._clips.values() if one.key not in keys and one.came < since]
        for key in old:
            self.remove(key)

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
