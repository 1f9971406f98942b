"""Sources whose samples are frames, so that what is clustered can be written down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion2vec.audio.frames import FrameGrid
from emotion2vec.data.sources import Loaded, Span
from emotion2vec.errors import AudioError


class Numbers:
    """Clips in memory, of any values; those that are None cannot be decoded."""

    weight = 1.0

    def __init__(self, clips: Sequence[np.ndarray | None], samples: int = 16_000, name: str = "c") -> None:
        self.clips = clips
        self.counts = np.array([len(clips)])
        self.seconds = len(clips) * samples / 16_000
        self.table = np.zeros(len(clips), dtype=[("item", "<i4"), ("length", "<i4")])
        self.table["item"] = np.arange(len(clips))
        self.table["length"] = [samples if clip is None else clip.size for clip in clips]
        self.name = name
        self.read: list[int] = []

    def entries(self, spans: Sequence[Span]) -> np.ndarray:
        return np.concatenate([self.table[first:stop] for first, stop in spans])

    def load(self, entries: np.ndarray) -> list[Loaded]:
        self.read += entries["item"].tolist()
        found = [(f"{self.name}{item}", self.clips[item]) for item in entries["item"].tolist()]
        return [(name, AudioError(f"{name}: broken") if clip is None else clip) for name, clip in found]


class Reshaped:
    """Frames of two layers, each of two channels: four samples are a frame of both."""

    name, fingerprint, layers, grid = "numbers", "", [1, 2], FrameGrid((4,), (4,), (0,))

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        return waveform.reshape(-1, 2, 2).transpose(1, 0, 2)  # (L, T, D)


def clips_of(frames: np.ndarray, size: int = 25) -> list[np.ndarray]:
    """Frames (2, N, 2) as clips of so many of them."""
    rows = frames.transpose(1, 0, 2).reshape(len(frames[0]), 4)
    return [rows[first : first + size].reshape(-1).astype(np.float32) for first in range(0, len(rows), size)]
