"""Where utterances come from: entries that are cheap to plan with, and their audio.

S: samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.data.cuts import load_cut
from emotion2vec.data.storage import Unreachable, storage_lost
from emotion2vec.errors import AudioError

if TYPE_CHECKING:
    from lhotse.cut import Cut

Span = tuple[int, int]
"""First utterance and the one after the last, counted in the order of the source."""

Loaded = tuple[str, "np.ndarray | AudioError"]
"""Id of an utterance, and its samples (S,) or why there are none."""

LIST_BLOCK = 100
"""Utterances of a list that stay together when it is larger than a window."""


class Source(Protocol):
    """Utterances in shards: what is planned with is small, and audio is only read for what was planned."""

    weight: float
    """How often each utterance is seen per epoch."""

    counts: np.ndarray
    """Utterances of each shard."""

    seconds: float
    """Audio of one pass over the source, in s."""

    def entries(self, spans: Sequence[Span]) -> np.ndarray:
        """Structured array of the utterances of `spans`, with a field `length` in samples at 16 kHz.

        Raises:
            Unreachable: they cannot be read at the moment.
        """
        ...

    def load(self, entries: np.ndarray) -> list[Loaded]:
        """Decode the utterances that some entries stand for: (S,) float32 at 16 kHz, not normalized.

        Raises:
            Unreachable: the storage cannot be read at the moment.
        """
        ...


class CutSource:
    """Lhotse cuts in memory, whose audio lies in files.

    Attributes:
        silent: clips that cannot be decoded, by id, once what is read of the others is zeros, for a run that needs
            their lengths alone; None while audio is read.
    """

    def __init__(self, cuts: Iterable[Cut], weight: float = 1.0) -> None:
        self.cuts = list(cuts)
        self.silent: dict[str, AudioError] | None = None
        self.weight = weight
        starts = range(0, len(self.cuts), LIST_BLOCK)
        self.counts = np.array([min(LIST_BLOCK, len(self.cuts) - start) for start in starts], dtype=np.int64)
        self.seconds = sum(cut.duration for cut in self.cuts)
        lengths = [round(cut.duration * SAMPLE_RATE) for cut in self.cuts]
        self.table = np.zeros(len(self.cuts), dtype=[("item", "<i4"), ("length", "<i4")])
        self.table["item"], self.table["length"] = np.arange(len(self.cuts)), lengths

    def entries(self, spans: Sequence[Span]) -> np.ndarray:
        """As `Source.entries`."""
        return np.concatenate([self.table[first:stop] for first, stop in spans])

    def load(self, entries: np.ndarray) -> list[Loaded]:
        """As `Source.load`."""
        return [self._load(self.cuts[item]) for item in entries["item"].tolist()]

    def _load(self, cut: Cut) -> Loaded:
        if self.silent is not None:
            return cut.id, self.silent.get(cut.id, np.zeros(round(cut.duration * SAMPLE_RATE), dtype=np.float32))
        try:
            return cut.id, load_cut(cut)
        except AudioError as error:
            if storage_lost(Path(cut.recording.sources[0].source), error.__cause__):
                raise Unreachable(str(error)) from error
            return cut.id, error
