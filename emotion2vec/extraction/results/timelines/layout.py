"""Where things lie in the picture of a recording: its lines of time, their ticks, lanes, and what is too small to see.

Lengths on paper are in inches, times in s. n: stretches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from emotion2vec.extraction.results.timelines.tracks import Track

TALL = 24.0
"""Height that the lines of a recording shall not exceed, where there are several."""

LEGIBLE = 0.1
"""Width that half of the stretches shall have."""

DOT = 1 / 72
"""Least width of what is seen: stretches below it share dots."""

MOST_TICKS = 10
"""Of a line."""

MOST_LANES = 6
"""Lanes of a track; what overlaps more than that lies over others in the last one."""

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
"""Times that people count in, below an hour."""

LINES = (10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 720, 900, 1200, 1800)
"""Lengths that a line may have, below an hour."""

ROUNDING = 0.001
"""Time by which stretches may overlap that follow each other."""


def steps(short: Sequence[float] = STEPS) -> Iterator[float]:
    """Times that people count in, from small to large: these, and then hours."""
    yield from short
    for power in count():
        for factor in (1, 2, 5):
            yield 3600.0 * factor * 10**power


@dataclass(frozen=True)
class Axis:
    """Time on paper, in lines of the same length.

    Attributes:
        begin: of the first line.
        length: of a line.
        lines: how many there are.
        width: of a line.
        step: from one tick to the next.
    """

    begin: float
    length: float
    lines: int
    width: float
    step: float

    def starts(self) -> list[float]:
        """Where each line begins."""
        return [self.begin + self.length * number for number in range(self.lines)]

    def ticks(self, start: float) -> list[float]:
        """Times of the ticks of the line that begins there."""
        first = np.ceil(start / self.step - 1e-6)
        last = np.floor((start + self.length) / self.step + 1e-6)
        return [float(number * self.step) + 0.0 for number in np.arange(first, last + 1)]


def axis_of(spans: np.ndarray, width: float, height: float) -> Axis:
    """Lay stretches out: on one line if they are legible on it, else on as many as they need, or as are readable.

    Args:
        spans: (n, 2) start and end of all of them.
        width: of a line.
        height: of a line.
    """
    first, end = float(spans[:, 0].min()), float(spans[:, 1].max())
    begin = 0.0 if first <= end / 2 else next(first // step * step for step in steps() if step * 8 > end - first)
    total = max(end - begin, ROUNDING)
    most = max(1, int(TALL / height))
    legible = float(np.median(spans[:, 1] - spans[:, 0])) * width / LEGIBLE
    fitting = [total] if total <= max(legible, 10) else []
    for step in steps(LINES):
        if step >= total:
            break
        if np.ceil(total / step) <= most:
            fitting.append(step)
    length = max((one for one in fitting if one <= legible), default=min(fitting, default=total))
    step = next(one for one in steps() if one * MOST_TICKS >= length)
    return Axis(begin, length, int(np.ceil(total / length - 1e-9)), width, step)


def clock(seconds: float, step: float, long: bool) -> str:
    """A time as ticks show it: `12.5`, or in long recordings `2:05` and `1:02:05`."""
    if not long:
        return f"{seconds:.1f}" if step < 1 else f"{seconds:.0f}"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, f"{whole % 60:02}"
    if step < 1:
        rest = f"{seconds % 60:04.1f}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def lanes_of(track: Track) -> np.ndarray:
    """The lane (n,) of each stretch, so that none lies over another one, as far as there are lanes."""
    ends: list[float] = []
    lanes = np.zeros(len(track.spans), dtype=int)
    for number, (start, end) in enumerate(track.spans.tolist()):
        lane = next((lane for lane, last in enumerate(ends) if last <= start + ROUNDING), None)
        if lane is None:
            lane = min(len(ends), MOST_LANES - 1)
            ends += [0.0] * (lane == len(ends))
        ends[lane] = max(end, ends[lane])
        lanes[number] = lane
    return lanes


@dataclass(frozen=True)
class Dots:
    """Where on a line of time stretches lie that are too short to be seen: they share dots.

    Attributes:
        start: of the line.
        length: of the line.
        dot: the time that a dot takes.
        last: whether it is the last line, which holds what lies at its very end.
    """

    start: float
    length: float
    dot: float
    last: bool = True

    def inside(self, spans: np.ndarray) -> np.ndarray:
        """Whether stretches (n, 2) lie on the line, or a part of them that is seen; (n,)."""
        stop, middle = self.start + self.length, spans.mean(axis=1)
        touching = (spans[:, 1] > self.start) & (spans[:, 0] < stop)
        own = (middle >= self.start) & ((middle < stop) | self.last)
        return np.where(self._small(spans), own, touching)

    def _small(self, spans: np.ndarray) -> np.ndarray:
        return spans[:, 1] - spans[:, 0] < self.dot

    def _places(self, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Dots that stretches lie on, as spans (m, 2), and which one each is on (n,)."""
        most = max(1, round(self.length / self.dot)) - 1
        place = np.clip(np.floor((spans.mean(axis=1) - self.start) / self.dot), 0, most)
        places, where = np.unique(place, return_inverse=True)
        return self.start + self.dot * np.stack([places, places + 1], axis=1), where

    def labels(
        self, spans: np.ndarray, labels: np.ndarray, confidence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A dot gets the label of most of its time, with the mean confidence of that.

        Args:
            spans: (n, 2) start and end.
            labels: (n,).
            confidence: (n,).

        Returns:
            The same three of fewer stretches, of which the dots are the last.
        """
        small = self._small(spans)
        if not small.any():
            return spans, labels, confidence
        dots, where = self._places(spans[small])
        names, which = np.unique(labels[small], return_inverse=True)
        weight = np.maximum(spans[small, 1] - spans[small, 0], 1e-9)
        times = np.zeros((len(dots), len(names)))
        sums = np.zeros_like(times)
        np.add.at(times, (where, which), weight)
        np.add.at(sums, (where, which), weight * confidence[small])
        rows, best = np.arange(len(dots)), times.argmax(axis=1)
        return (
            np.concatenate([spans[~small], dots]),
            np.concatenate([labels[~small], names[best]]),
            np.concatenate([confidence[~small], sums[rows, best] / times[rows, best]]),
        )

    def values(self, spans: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A dot gets the mean of its values.

        Args:
            spans: (n, 2) start and end.
            values: (n, Q).

        Returns:
            The same two of fewer stretches, in the order of time.
        """
        small = self._small(spans)
        dots, where = self._places(spans[small])
        sums, counts = np.zeros((len(dots), values.shape[1])), np.zeros((len(dots), 1))
        np.add.at(sums, where, values[small])
        np.add.at(counts, where, 1)
        spans, values = np.concatenate([spans[~small], dots]), np.concatenate([values[~small], sums / counts])
        order = np.argsort(spans[:, 0], kind="stable")
        return spans[order], values[order]
