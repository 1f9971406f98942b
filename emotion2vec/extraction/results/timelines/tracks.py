"""Rows of results -> what is said of a recording over time, a track for each speaker.

n: stretches. Q: values.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from emotion2vec.extraction.results.annotations.tiers import tier_name
from emotion2vec.extraction.results.names import file_names
from emotion2vec.notebooks import Shown, Table
from emotion2vec.units import duration

NONE = -1
"""Place of the label that a stretch has not."""


class Said(NamedTuple):
    """What is said of one stretch of a recording.

    Attributes:
        file: the recording, as results name it.
        start: in s within it.
        end: in s within it.
        speaker: None where nobody is known.
        channel: counted from 0; None for the mean of all.
        label: None where there is none.
        confidence: from 0 to 1; None where it is not known.
        values: Q of them; NaN where one is not known.
    """

    file: str
    start: float
    end: float
    speaker: str | None = None
    channel: int | None = None
    label: str | None = None
    confidence: float | None = None
    values: Sequence[float] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Track(Shown):
    """What is said of one speaker of a recording, in the order of time.

    Attributes:
        name: of the speaker, else of the channel; no other track of the recording has it.
        spans: (n, 2) start and end in s.
        labels: (n,) places in the timeline's labels, or `NONE`.
        confidence: (n,) from 0 to 1; NaN where it is not known.
        values: (n, Q); NaN where one is not known.
    """

    name: str
    spans: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray
    values: np.ndarray

    def _said(self) -> str:
        return f"{self.name}, {len(self.spans):,} stretches from {self.spans.min():.2f} to {self.spans.max():.2f} s"


@dataclass(frozen=True, eq=False, repr=False)
class Timeline(Shown):
    """What is said of one recording.

    Attributes:
        file: as results name it.
        name: of a file of it, which no other recording has.
        labels: names of all labels, the same for all recordings.
        values: names of the Q values by their head; the main one's name is empty.
        tracks: in the order in which speakers appear.
    """

    file: str
    name: str
    labels: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    tracks: tuple[Track, ...]

    def _said(self) -> str:
        return f"{self.file}, {duration(self.end)}, {len(self.tracks)} speakers"

    def _table(self) -> Table:
        times = [duration(float(np.diff(track.spans).sum())) for track in self.tracks]
        rows = [[track.name, f"{len(track.spans):,}", spoken] for track, spoken in zip(self.tracks, times, strict=True)]
        return ("speaker", "stretches", "time"), rows

    @property
    def end(self) -> float:
        """The latest end, in s."""
        return max(float(track.spans[:, 1].max()) for track in self.tracks)

    @property
    def has_labels(self) -> bool:
        """Whether there are labels, or else nothing but stretches."""
        said = any((track.labels != NONE).any() or np.isfinite(track.confidence).any() for track in self.tracks)
        return said or not any(np.isfinite(track.values).any() for track in self.tracks)


@dataclass
class _Voice:
    """Stretches of one speaker, 28 bytes each and 8 more for each value."""

    numbers: array[float] = field(default_factory=lambda: array("d"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    values: array[float] = field(default_factory=lambda: array("d"))


class Collected:
    """Collects what is said, by recording and speaker.

    Args:
        labels: in the order in which they are shown; others come behind them.
        values: names of the Q values by their head.
    """

    def __init__(self, labels: Sequence[str], values: Mapping[str, Sequence[str]]):
        self._places = {label: place for place, label in enumerate(labels)}
        self._values = {head: tuple(names) for head, names in values.items() if names}
        self._recordings: dict[str, dict[tuple[Any, Any], _Voice]] = {}

    def place(self, said: Said) -> None:
        """Add a stretch."""
        voices = self._recordings.setdefault(said.file, {})
        voice = voices.setdefault((said.speaker, said.channel), _Voice())
        voice.numbers.extend((said.start, said.end, np.nan if said.confidence is None else said.confidence))
        known = said.label is not None
        voice.labels.append(self._places.setdefault(said.label, len(self._places)) if known else NONE)  # type: ignore[arg-type]
        voice.values.extend(said.values)

    def timelines(self) -> list[Timeline]:
        """All recordings, as they came."""
        names, labels = file_names(list(self._recordings)), tuple(self._places)
        return [
            Timeline(file, names[file], labels, self._values, tuple(self._tracks(voices)))
            for file, voices in self._recordings.items()
        ]

    def _tracks(self, voices: Mapping[tuple[Any, Any], _Voice]) -> list[Track]:
        width, tracks = sum(map(len, self._values.values())), []
        for (speaker, channel), voice in voices.items():
            numbers = np.array(voice.numbers).reshape(-1, 3)  # (n, start, end, confidence)
            order = np.lexsort((numbers[:, 1], numbers[:, 0]))
            values = np.array(voice.values).reshape(len(numbers), width)  # (n, Q)
            numbers, labels = numbers[order], np.array(voice.labels, dtype=int)[order]
            name = tier_name(speaker, channel, voices)
            tracks.append(Track(name, numbers[:, :2], labels, numbers[:, 2], values[order]))
        return tracks
