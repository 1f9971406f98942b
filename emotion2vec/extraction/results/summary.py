"""Results in a few rows: how much of the time is what, for each recording and each speaker."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.results.rows import DIGITS, Row

RECORDING, SPEAKER, BOTH = "recording", "speaker", "speaker in recording"
"""What a row of a summary is of."""

KNOWN = {"of": str, "file": str, "speaker": str, "rows": int, "seconds": float, "changes": int}
"""Columns that every summary begins with, and what their cells are."""


@dataclass
class Voice:
    """What is known of one speaker in one channel of one recording.

    Attributes:
        starts: of its rows that have a label, in s.
        labels: numbers of their labels.
        times: (K + 1) s of each label, and of none.
        sums: (K,) scores, each times the seconds that it is of.
        rows: how many there are.
    """

    times: np.ndarray
    sums: np.ndarray
    starts: array[float] = field(default_factory=lambda: array("d"))
    labels: array[int] = field(default_factory=lambda: array("i"))
    rows: int = 0

    @property
    def changes(self) -> int:
        """How often a row has another label than the one before it in time; rows without a label are passed over."""
        order = np.argsort(np.asarray(self.starts), kind="stable")
        return int(np.count_nonzero(np.diff(np.asarray(self.labels)[order])))


class Summary:
    """Adds rows up: shares of time, means over time and changes, by recording, speaker, and speaker in recording.

    Args:
        scores: names of the K scores of the main head.
        values: whether they are values, so that there are no labels.
    """

    def __init__(self, scores: Sequence[str], values: bool):
        self._places = {name: place for place, name in enumerate(scores)}
        self._values = values
        self._voices: dict[tuple[str, str | None, int | None], Voice] = {}

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """See `Rows`."""
        key, count = (item.file, item.speaker, item.channel), len(self._places)
        voice = self._voices.setdefault(key, Voice(np.zeros(count + 1), np.zeros(count)))
        for row in rows:
            seconds = row.end - row.start
            place = -1 if row.label is None else self._places[row.label]
            voice.rows += 1
            voice.times[place] += seconds
            voice.sums += seconds * np.fromiter(row.scores.values(), float)
            if place >= 0:
                voice.starts.append(row.start)
                voice.labels.append(place)

    @property
    def columns(self) -> dict[str, type]:
        """Names of the columns, and what their cells are."""
        shares = {} if self._values else {f"share:{name}": float for name in self._places} | {"unlabelled": float}
        return {**KNOWN, **shares, **{f"mean:{name}": float for name in self._places}}

    def rows(self) -> Iterator[list[Any]]:
        """Cells of all rows: recordings, then speakers, then speakers in recordings, as they came."""
        for of in (RECORDING, SPEAKER, BOTH):
            groups: dict[tuple[str | None, str | None], list[Voice]] = {}
            for (file, speaker, _), voice in self._voices.items():
                if speaker is not None or of == RECORDING:
                    key = (None if of == SPEAKER else file, None if of == RECORDING else speaker)
                    groups.setdefault(key, []).append(voice)
            for (recording, person), voices in groups.items():
                yield self._cells(of, recording, person, voices)

    def _cells(self, of: str, file: str | None, speaker: str | None, voices: Sequence[Voice]) -> list[Any]:
        times = np.sum([voice.times for voice in voices], axis=0)  # (K + 1,)
        seconds = float(times.sum())
        shares = [] if self._values else _rounded(times / seconds)
        means = _rounded(np.sum([voice.sums for voice in voices], axis=0) / seconds)
        changes = sum(voice.changes for voice in voices)
        rows = sum(voice.rows for voice in voices)
        return [of, file, speaker, rows, round(seconds, DIGITS), changes, *shares, *means]


def _rounded(values: np.ndarray) -> list[float]:
    return [round(value, DIGITS) for value in values.tolist()]
