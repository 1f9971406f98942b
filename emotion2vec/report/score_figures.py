"""What figures of scores show, each on axes of its own: bars, confusions, ROC curves, calibration, values.

Sizes are in inches. K: classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emotion2vec.notebooks import one_line
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart."""

LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
"""Dashes, one for each colour, which tell lines apart in grey."""

MARKERS = "o^sdvPX"

LETTER = 0.065
"""Width of a letter of 8 points, about."""

FONT, LEAST_FONT = 8.0, 4.0
"""Sizes in points: the usual one, and the least that can be read."""

TALLEST = 4.5
"""Height of what is square, where there is more width."""

MOST_LETTERS = 24
"""Of the name of a class."""


class Figure(Protocol):
    """A kind of figure."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""

    def draw(self, axes: Axes) -> None:
        """Draw it."""


def looks(count: int) -> list[tuple[str, Any]]:
    """Colours and dashes of lines; of up to 49 no two are the same, and of seven no two are the same in grey."""
    return [(COLOURS[n % 7], LINES[(n + n // 7) % 7]) for n in range(count)]


def name_of(row: HeadScores) -> str:
    """A feature and head."""
    return one_line(f"{Path(row.feature).name}, {row.head}")


def cut(name: str, most: int) -> str:
    """A name of at most so many letters, on one line: of a longer one, its start and its end."""
    name = one_line(name)
    return name if len(name) <= most else f"{name[: (most - 1) // 2]}…{name[len(name) - most // 2 :]}"


class Bars:
    """The main metric of all test clips of each feature and head, the best on top, with intervals."""

    def __init__(self, result: ProbeResult, width: float):
        self._rows, self._width = sorted(result.results, key=lambda row: row.pooled[row.main] or 0.0), width
        self._names = [name_of(row) for row in self._rows]
        self._above = max(map(len, self._names)) * LETTER > 0.45 * width  # names that leave bars no room

    @property
    def size(self) -> tuple[float, float]:
        """See `Figure`."""
        return self._width, (0.4 if self._above else 0.25) * len(self._rows) + 0.6

    def draw(self, axes: Axes) -> None:
        """See `Figure`."""
        main, unit = self._rows[0].main, self._rows[0].unit
        for place, row in enumerate(self._rows):
            value, (low, high) = row.pooled[main] or 0.0, row.intervals[main]
            colour = COLOURS[0] if place == len(self._rows) - 1 else "#9ab8cc"
            axes.barh(place, value, height=0.4 if self._above else 0.6, color=colour)
            axes.plot([low, high], [place, place], color="black", clip_on=False)
            axes.text(max(value, high), place, f"  {value:.1f}" if unit else f"  {value:.2f}", va="center")
            if self._above:
                axes.text(
                    0, place + 0.25, cut(self._names[place], int(self._width / LETTER) - 4), va="bottom", fontsize=7
                )
        axes.set_yticks(range(len(self._rows)), [""] * len(self._rows) if self._above else self._names)
        axes.set(ylim=(-0.5, len(self._rows) - 0.5 + 0.3 * self._above), xlim=(0, 115 if unit == "%" else 1.15))
        axes.set_xlabel(f"{main}{' in %' * (unit == '%')}, with 95 % over {self._rows[0].intervals_over}")


class Confusion:
    """Shares of each true class in %, and clips; where there are too many for numbers, a scale beside them."""

    def __init__(self, matrix: Sequence[Sequence[int]], classes: Sequence[str], width: float):
        self._matrix, self._width = np.array(matrix), width
        self._classes = [cut(name, MOST_LETTERS) for name in classes]
        longest = max(map(len, self._classes), default=0)
        self._cell = min(width - LETTER * (longest + 6) - 0.3, TALLEST) / len(self._classes)
        self._below = LETTER * longest * 0.8
        self._font = float(np.clip(72 * self._cell / 1.9, LEAST_FONT, FONT))
        self._numbers = 72 * self._cell / 1.9 >= LEAST_FONT

    @property
    def size(self) -> tuple[float, float]:
        """See `Figure`."""
        return self._width, self._cell * len(self._classes) + self._below + 0.4

    def draw(self, axes: Axes) -> None:
        """See `Figure`."""
        totals = self._matrix.sum(axis=1, keepdims=True)
        shares, places = 100 * self._matrix / np.maximum(totals, 1), range(len(self._classes))
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (row, column), share in np.ndenumerate(shares) if self._numbers else ():
            colour = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=self._font)
        if not self._numbers:
            axes.figure.colorbar(image, ax=axes, shrink=0.6)
        steep = len(self._classes) > 8
        axes.set_xticks(
            places, self._classes, rotation=90 if steep else 45, ha="center" if steep else "right", fontsize=self._font
        )
        named = [f"{name} ({n})" for name, n in zip(self._classes, totals[:, 0], strict=True)]
        axes.set_yticks(places, named, fontsize=self._font)
        axes.set_xlabel("predicted, in % of the true class")
        axes.set_ylabel("true (clips)")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)


class Curves:
    """ROC curve of each class against the others; where there are many, their names lie below."""

    def __init__(self, scores: HeadScores, width: float):
        self._scores, self._width, self._roc = scores, width, scores.roc or {}
        self._inside = len(self._roc) <= 8 and max(map(len, self._roc), default=0) <= MOST_LETTERS / 2
        self._columns = max(1, int(width / (LETTER * MOST_LETTERS)))

    @property
    def size(self) -> tuple[float, float]:
        """See `Figure`."""
        rows = 0 if self._inside else -(-len(self._roc) // self._columns) + 1
        return self._width, min(self._width, TALLEST) + 0.14 * rows

    def draw(self, axes: Axes) -> None:
        """See `Figure`."""
        axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.6)
        for (label, points), (colour, line) in zip(self._roc.items(), looks(len(self._roc)), strict=True):
            x, y = 100 * np.array(points).T
            area, name = self._scores.further.get(f"AUC {label}"), cut(label, MOST_LETTERS - 6)
            shown = f"{name} {area:.1f}" if area is not None else name
            axes.plot(x, y, linestyle=line, color=colour, label=shown, clip_on=False)
        axes.set(xlabel="others taken for it, in %", ylabel="found, in %", xlim=(-1, 101), ylim=(-1, 101))
        axes.set_aspect("equal")
        title: dict[str, Any] = {"title": "area under it, in %", "title_fontsize": 7, "handlelength": 3.5}
        if self._inside:
            axes.legend(loc="lower right", **title)
        else:
            axes.figure.legend(loc="outside lower center", ncols=self._columns, fontsize=6, **title)


class Calibration:
    """What is right among predictions of a probability."""

    def __init__(self, bins: Any, width: float):
        self._bins, self.size = bins, (width, min(0.8 * width, TALLEST))

    def draw(self, axes: Axes) -> None:
        """See `Figure`."""
        axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.6)
        for (name, rows), (colour, line), marker in zip(self._bins.items(), looks(2), MARKERS, strict=False):
            x, y = ([row[key] for row in rows] for key in ("confidence", "right"))
            axes.plot(x, y, linestyle=line, color=colour, marker=marker, markersize=3, label=name, clip_on=False)
        axes.set(xlabel="probability, in %", ylabel="right, in %", xlim=(-1, 101), ylim=(-1, 101))
        axes.legend(loc="upper left")


class Values:
    """Predicted against true values."""

    def __init__(self, points: Any, width: float):
        self._points, self.size = points, (width, min(width, TALLEST))

    def draw(self, axes: Axes) -> None:
        """See `Figure`."""
        for (name, pairs), colour, marker in zip(self._points.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
            true, predicted = np.array(pairs).T
            how: dict[str, Any] = {
                "markersize": 2.5,
                "alpha": 0.5,
                "markeredgewidth": 0,
                "label": cut(name, MOST_LETTERS),
            }
            axes.plot(true, predicted, marker, color=colour, **how)
        ends = [min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])]
        axes.plot(ends, ends, color="0.5", linewidth=0.6)
        axes.set(xlabel="true", ylabel="predicted", aspect="equal")
        axes.legend(markerscale=2)
