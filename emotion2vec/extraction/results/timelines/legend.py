"""What the looks of a picture mean. Lengths are in inches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np

from emotion2vec.corpora.faults import shortened
from emotion2vec.extraction.results.timelines.canvas import LETTER, Sheet
from emotion2vec.extraction.results.timelines.palette import CURVES, LEVELS, Curve
from emotion2vec.extraction.results.timelines.tracks import NONE, Timeline

SWATCH, SPACE, ROW = 0.3, 0.16, 0.22
"""Width of what is explained, what is free beside its name, and the height of a row."""

MOST_LETTERS = 40
"""Letters of a name."""


class Entry(NamedTuple):
    """A name, and what it is the name of: stretches of a label at a step of confidence, or a curve."""

    name: str
    label: int = NONE
    level: int = LEVELS
    curve: Curve | None = None


class Legend:
    """The names of the labels and curves that occur, with their looks, in rows.

    Args:
        timelines: of one page.
        width: of a row.
    """

    def __init__(self, timelines: Sequence[Timeline], width: float):
        self._rows: list[list[tuple[float, Entry]]] = [[]]
        x = 0.0
        for entry in _entries(timelines):
            wide = SWATCH + SPACE + LETTER * (len(entry.name) + 1)
            if x + wide > width and self._rows[-1]:
                self._rows.append([])
                x = 0.0
            self._rows[-1].append((x, entry))
            x += wide

    @property
    def height(self) -> float:
        """Of all rows."""
        return ROW * len(self._rows) + 0.04

    def draw(self, sheet: Sheet, left: float, top: float) -> None:
        """Put it onto a sheet."""
        for row in self._rows:
            for x, entry in row:
                self._entry(sheet, entry, left + x, top)
            top += ROW

    def _entry(self, sheet: Sheet, entry: Entry, x: float, top: float) -> None:
        if entry.curve is not None:
            sheet.curve([x, x + SWATCH], [top + ROW / 2] * 2, entry.curve)
        else:
            box = np.array([[x, top + 0.03, x + SWATCH, top + ROW - 0.03]])
            sheet.boxes(box, np.array([entry.label]), np.array([entry.level]))
        sheet.text(x + SWATCH + 0.05, top + ROW / 2, entry.name)


def _entries(timelines: Sequence[Timeline]) -> list[Entry]:
    tracks = [track for timeline in timelines if timeline.has_labels for track in timeline.tracks]
    occurring = sorted({label for track in tracks for label in np.unique(track.labels).tolist()})
    sure = [label for label in occurring if label != NONE]
    entries = [Entry(shortened(timelines[0].labels[label], MOST_LETTERS), label) for label in sure]
    if sure and any(np.isfinite(track.confidence).any() for track in tracks):
        steps = ((0, "confidence 0"), (LEVELS // 2, "0.5"), (LEVELS, "1"))
        entries += [Entry(text, sure[0], level) for level, text in steps]
    if NONE in occurring:
        entries.append(Entry("no label"))
    for names in timelines[0].values.values():
        entries += [Entry(shortened(name, MOST_LETTERS), curve=look) for name, look in zip(names, cycle(CURVES))]
    return entries
