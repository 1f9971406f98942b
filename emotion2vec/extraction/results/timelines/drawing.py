"""Recordings as pictures: a row for each speaker, emotions as colours along time, values as curves on their scales.

All lengths are in inches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle

import numpy as np

from emotion2vec.corpora.faults import shortened
from emotion2vec.extraction.results.timelines.canvas import INK, LETTER, Sheet, level_of
from emotion2vec.extraction.results.timelines.layout import DOT, Axis, Dots, axis_of, clock, lanes_of
from emotion2vec.extraction.results.timelines.legend import Legend
from emotion2vec.extraction.results.timelines.palette import CURVES, looks_of
from emotion2vec.extraction.results.timelines.tracks import NONE, Timeline, Track

WIDTH, RIGHT, EDGE = 9.0, 0.3, 0.12
"""Of a picture, of what is free right of its lines, and of its margins."""

LANE, ROW_GAP, CURVE, TICKS, TITLE, LINE_GAP = 0.2, 0.06, 0.6, 0.22, 0.28, 0.1
"""Heights: of a lane, between rows, of the box of curves, of the ticks' texts, of a title, between lines of time."""

SMALL = 0.85
"""Size of what is written on stretches, beside that of other texts."""

PAGE, LONGEST_PAGE = 10.0, 200.0
"""Height up to which recordings share a page, and the height that no page exceeds."""

MOST_TRACKS, MOST_LETTERS = 60, 22
"""Speakers that a recording is drawn with, and letters of a name."""

LONG = 120.0
"""Recordings above it have clock times, in s."""

SCALES = ((0, 1), (-1, 1), (1, 5), (1, 7), (0, 10), (0, 100))
"""Scales that people rate on."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where a recording's rows and curves lie in a line of time.

    Attributes:
        timeline: the recording.
        left: width of what stands left of the lines.
        most_lines: how many are drawn; None for all.
    """

    timeline: Timeline
    left: float
    most_lines: int | None = None

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """Those that are drawn."""
        return self.timeline.tracks[:MOST_TRACKS]

    @cached_property
    def lanes(self) -> list[np.ndarray]:
        """The lane of each stretch, of each track; none where there are no labels."""
        return [lanes_of(track) for track in self.tracks] if self.timeline.has_labels else []

    @cached_property
    def heads(self) -> list[tuple[str, slice, tuple[float, float]]]:
        """Heads of values, places of their values, and their scales."""
        found, first = [], 0
        for head, names in self.timeline.values.items():
            columns = slice(first, first + len(names))
            known = np.concatenate([track.values[:, columns].ravel() for track in self.timeline.tracks])
            if (known := known[np.isfinite(known)]).size:
                found.append((head, columns, scale_of(float(known.min()), float(known.max()))))
            first += len(names)
        return found

    @cached_property
    def row_heights(self) -> list[float]:
        """Of the stretches of each track."""
        return [LANE * (int(lanes.max()) + 1) + ROW_GAP for lanes in self.lanes]

    @property
    def line(self) -> float:
        """Height of a line of time."""
        curves = len(self.tracks) * len(self.heads) * (CURVE + ROW_GAP)
        return sum(self.row_heights) + curves + TICKS + LINE_GAP

    @cached_property
    def axis(self) -> Axis:
        """Its time on paper."""
        spans = np.concatenate([track.spans for track in self.tracks])
        return axis_of(spans, WIDTH - self.left - RIGHT, self.line)

    @property
    def starts(self) -> list[float]:
        """Where the lines of time begin that are drawn."""
        return self.axis.starts()[: self.most_lines]

    @property
    def title(self) -> str:
        """The recording, and what is not drawn of it."""
        speakers = len(self.timeline.tracks) - len(self.tracks)
        lines = self.axis.lines - len(self.starts)
        rest = [f"{speakers} more speakers"] * bool(speakers) + [f"{lines} more lines"] * bool(lines)
        return shortened(self.timeline.file, 100) + f"  … and {' and '.join(rest)}" * bool(rest)

    @property
    def height(self) -> float:
        """Of all of it."""
        return TITLE + len(self.starts) * self.line + LINE_GAP


def scale_of(low: float, high: float) -> tuple[float, float]:
    """The first of the `SCALES` that holds all values, or else the whole numbers around them."""
    known = (scale for scale in SCALES if scale[0] <= low and high <= scale[1])
    least, most = math.floor(low), math.ceil(high)
    return next(known, (least, most if most > least else least + 1))


@dataclass
class Page:
    """Recordings that share a page."""

    layouts: list[Layout] = field(default_factory=list)

    @property
    def legend(self) -> Legend:
        """What the looks mean."""
        return Legend([layout.timeline for layout in self.layouts], WIDTH - 2 * EDGE)

    @property
    def height(self) -> float:
        """Of the page."""
        return EDGE + self.legend.height + sum(layout.height for layout in self.layouts)

    def draw(self) -> Sheet:
        """Draw them one below the other."""
        labels = self.layouts[0].timeline.labels
        sheet, top = Sheet(WIDTH, self.height, looks_of(labels)), EDGE
        self.legend.draw(sheet, EDGE, top)
        top += self.legend.height
        for layout in self.layouts:
            _Drawing(sheet, layout, short_names(labels)).draw(top)
            top += layout.height
        return sheet


def pages_of(timelines: Sequence[Timeline], tall: float = PAGE, most_lines: int | None = None) -> Iterator[Page]:
    """Put recordings on pages of at most this height; one that is taller has its own.

    Args:
        timelines: of one collection.
        tall: the height, in inches.
        most_lines: of a recording; None for all.
    """
    names = [len(track.name) for timeline in timelines for track in timeline.tracks[:MOST_TRACKS]]
    left = EDGE + LETTER * min(max(names, default=0), MOST_LETTERS) + 0.3
    page, height = Page(), 0.0
    for timeline in timelines:
        layout = Layout(timeline, left, most_lines)
        if page.layouts and height + layout.height > tall:
            yield page
            page, height = Page(), 0.0
        height = height + layout.height if page.layouts else Page([layout]).height
        page.layouts.append(layout)
    if page.layouts:
        yield page


def short_names(labels: Sequence[str]) -> list[str]:
    """The least letters of each label, three or more, that no other label begins with."""
    return [
        next((label[:size] for size in range(3, len(label)) if _is_alone(label[:size], labels)), label)
        for label in labels
    ]


def _is_alone(start: str, labels: Sequence[str]) -> bool:
    return sum(label.startswith(start) for label in labels) == 1


class _Drawing:
    """Draws a recording onto a sheet."""

    def __init__(self, sheet: Sheet, layout: Layout, short: Sequence[str]):
        self._sheet, self._layout, self._short = sheet, layout, short
        self._labels, self._axis = layout.timeline.labels, layout.axis
        self._scale = layout.axis.width / layout.axis.length

    def draw(self, top: float) -> None:
        layout = self._layout
        self._sheet.text(EDGE, top + TITLE / 2, layout.title, weight="bold")
        top += TITLE
        for start in layout.starts:
            self._line(start, top)
            top += layout.line

    def _x(self, seconds: np.ndarray, start: float) -> np.ndarray:
        """Where times lie on the line that begins at `start`."""
        return self._layout.left + (np.clip(seconds, start, start + self._axis.length) - start) * self._scale

    def _dots(self, start: float) -> Dots:
        return Dots(start, self._axis.length, DOT / self._scale, start == self._axis.starts()[-1])

    def _line(self, start: float, top: float) -> None:
        """A line of time: ticks, rows of stretches, and boxes of curves."""
        layout, axis = self._layout, self._axis
        bottom = top + layout.line - TICKS - LINE_GAP
        end = min(start + axis.length, max(layout.timeline.end, start + axis.step))
        left, right = (float(x) for x in self._x(np.array([start, end]), start))
        long = layout.timeline.end > LONG
        for tick in axis.ticks(start):
            if tick <= end + 1e-6:
                (x,) = self._x(np.array([tick]), start).tolist()
                self._sheet.line([x, x], [top, bottom + 0.04])
                unit = " s" * (not long)
                self._sheet.text(x, bottom + TICKS / 2, clock(tick, axis.step, long) + unit, ha="center", fontsize=7)
        self._sheet.line([left, right], [bottom, bottom], color=INK)
        for number, track in enumerate(layout.tracks):
            if layout.lanes:
                height = layout.row_heights[number]
                self._name(track.name, top + height / 2)
                self._row(track, layout.lanes[number], start, top)
                top += height
            for head, columns, scale in layout.heads:
                name = "" if layout.lanes else track.name
                self._curves(track.spans, track.values[:, columns], scale, start, top)
                self._box(name, head, scale, (left, right), top)
                top += CURVE + ROW_GAP

    def _name(self, name: str, y: float) -> None:
        shown = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
        self._sheet.text(EDGE, y, shown)

    def _row(self, track: Track, lanes: np.ndarray, start: float, top: float) -> None:
        """The stretches of a track that lie in a line, lane by lane, and the names of their labels."""
        dots = self._dots(start)
        inside = dots.inside(track.spans)
        for lane in np.unique(lanes[inside]).tolist():
            chosen = inside & (lanes == lane)
            spans, labels, confidence = dots.labels(track.spans[chosen], track.labels[chosen], track.confidence[chosen])
            y = top + ROW_GAP / 2 + lane * LANE
            x = self._x(spans, start)  # (n, 2)
            boxes = np.stack([x[:, 0], np.full(len(x), y), x[:, 1], np.full(len(x), y + LANE - 0.02)], axis=1)
            self._sheet.boxes(boxes, labels, level_of(confidence))
            self._write(x, labels, y + 0.45 * LANE)

    def _write(self, x: np.ndarray, labels: np.ndarray, y: float) -> None:
        """Write the name of each label once along the stretches that follow each other with it, where it fits."""
        order = np.argsort(x[:, 0], kind="stable")
        x, labels = x[order], labels[order]
        new = (labels[1:] != labels[:-1]) | (x[1:, 0] > x[:-1, 1] + DOT)
        firsts = np.concatenate([[0], np.flatnonzero(new) + 1])
        lasts = np.concatenate([firsts[1:], [len(labels)]]) - 1
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            if (label := int(labels[first])) == NONE:
                continue
            left, right = float(x[first, 0]), float(x[last, 1])
            fitting = (self._labels[label], self._short[label])
            text = next((one for one in fitting if len(one) * SMALL * LETTER <= right - left), None)
            if text is not None:
                back = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "boxstyle": "square,pad=0.1"}
                self._sheet.text((left + right) / 2, y, text, ha="center", fontsize=8 * SMALL, bbox=back, zorder=3)

    def _curves(
        self, spans: np.ndarray, values: np.ndarray, scale: tuple[float, float], start: float, top: float
    ) -> None:
        """Values (n, q) of stretches as lines from their starts to their ends, joined where they follow each other."""
        dots = self._dots(start)
        if not (inside := dots.inside(spans)).any():
            return
        spans, values = dots.values(spans[inside], values[inside])
        x = self._x(spans, start)  # (n, 2)
        joined = np.append(np.abs(x[1:, 0] - x[:-1, 1]) < DOT / 2, False)
        across = np.column_stack([x, np.where(joined, x[:, 1], np.nan)]).ravel()
        down = top + ROW_GAP / 2 + CURVE * (1 - (values - scale[0]) / (scale[1] - scale[0]))  # (n, q)
        for heights, look in zip(down.T, cycle(CURVES)):
            self._sheet.curve(across, np.repeat(heights, 3), look)

    def _box(self, name: str, head: str, scale: tuple[float, float], ends: tuple[float, float], top: float) -> None:
        """What curves lie in: lines at the scale's ends and middle, with numbers, and whose they are."""
        top += ROW_GAP / 2
        for share in (0.0, 0.5, 1.0):
            value, y = scale[1] - share * (scale[1] - scale[0]), top + share * CURVE
            self._sheet.line(ends, [y, y])
            self._sheet.text(ends[0] - 0.05, y, f"{value:g}", ha="right", fontsize=6)
        self._name(name or head, top + CURVE / 2)
