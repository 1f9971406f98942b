"""A sheet that stretches, lines and texts are put on, in inches from its upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.results.annotations.formats import on_one_line
from emotion2vec.extraction.results.timelines.palette import LEVELS, Curve, Look, tinted
from emotion2vec.extraction.results.timelines.tracks import NONE

STYLE: Any = {
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",  # text that can be searched and edited
    "svg.hashsalt": "emotion2vec",  # the same picture is the same file
    "pdf.fonttype": 42,
}

FONT = "DejaVu Sans"
"""Comes with matplotlib."""

OTHER_FONTS = (
    *("Noto Sans CJK SC", "WenQuanYi Zen Hei", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari"),
    *("Noto Sans Ethiopic", "Noto Sans Thai", "Arial Unicode MS"),
)
"""Fonts for what it has no letters for, where they are installed."""

LETTER = 0.068
"""Width of a letter, about."""

FOOT = 0.16
"""Share of a stretch's height that has the label's colour whatever the confidence is."""

INK, FAINT = "0.15", "0.8"
"""Greys of texts and of what is behind all."""

SEEN = 4 / 72
"""Width from which a stretch has an edge."""


def style() -> Any:
    """Settings of matplotlib."""
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return {**STYLE, "font.family": [FONT, *(name for name in OTHER_FONTS if name in installed)]}


def check_matplotlib() -> None:
    """Raise ConfigError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("pictures need the package matplotlib: pip install 'emotion2vec[plots]'") from error


class Sheet:
    """A page of a picture.

    Args:
        width: in inches.
        height: in inches.
        looks: of the labels.
    """

    def __init__(self, width: float, height: float, looks: Sequence[Look]):
        from matplotlib.figure import Figure

        self._looks = looks
        self._figure = Figure(figsize=(width, height), facecolor="white")
        self._axes: Any = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.axis("off")
        self._boxes: dict[tuple[int, int], list[np.ndarray]] = {}

    def boxes(self, boxes: np.ndarray, labels: np.ndarray, levels: np.ndarray) -> None:
        """Put stretches there: (n, 4) left, top, right and bottom, places of their labels (n,), and confidence (n,)."""
        for label in np.unique(labels).tolist():
            for level in np.unique(levels[labels == label]).tolist():
                chosen = (labels == label) & (levels == level)
                self._boxes.setdefault((label, level), []).append(boxes[chosen])

    def text(self, x: float, y: float, text: str, **how: Any) -> None:
        """Write on one line, as it is."""
        self._axes.text(
            x, y, on_one_line(text), **{"va": "center", "color": INK, "parse_math": False, "fontsize": 8, **how}
        )

    def line(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, **how: Any) -> None:
        """Draw a line through points; NaN interrupts it."""
        from matplotlib.lines import Line2D

        self._axes.add_artist(Line2D(x, y, **{"color": FAINT, "linewidth": 0.6, "zorder": 1, **how}))

    def curve(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, look: Curve) -> None:
        """Draw a line of values."""
        self.line(x, y, color=look.colour, linestyle=look.dashes, linewidth=1.3, zorder=4)

    def figure(self) -> Any:
        """The page with all that was put onto it; `style` must hold."""
        for (label, level), found in sorted(self._boxes.items()):
            self._draw(label, level, np.concatenate(found))
        for label in sorted({label for label, _ in self._boxes if label != NONE}):
            found = [boxes for (one, _), several in self._boxes.items() if one == label for boxes in several]
            self._hatch(label, np.concatenate(found))
        self._boxes.clear()
        return self._figure

    def _draw(self, label: int, level: int, boxes: np.ndarray) -> None:
        name = "none" if label == NONE else f"label-{label}-confidence-{level}"
        if label == NONE:
            self._patch(boxes, facecolor="white", edgecolor="0.5", linewidth=0.5, gid=name)
            return
        colour = tinted(self._looks[label].colour, level)
        wide = boxes[:, 2] - boxes[:, 0] >= SEEN
        self._patch(boxes[~wide], facecolor=colour, linewidth=0, gid=f"{name}-narrow")
        self._patch(boxes[wide], facecolor=colour, edgecolor="white", linewidth=0.6, gid=name)

    def _hatch(self, label: int, boxes: np.ndarray) -> None:
        """What does not depend on the confidence: a foot in the full colour, and the hatch."""
        look, feet = self._looks[label], boxes.copy()
        feet[:, 1] = feet[:, 3] - FOOT * (feet[:, 3] - feet[:, 1])
        ink = (0.0, 0.0, 0.0, 0.55) if sum(look.colour) > 1 else (1.0, 1.0, 1.0, 0.7)
        if look.hatch:
            how = {"facecolor": "none", "edgecolor": ink, "linewidth": 0, "hatch": look.hatch}
            self._patch(boxes, **how, gid=f"label-{label}-hatch")
        self._patch(feet, facecolor=look.colour, linewidth=0, gid=f"label-{label}-foot")

    def _patch(self, boxes: np.ndarray, **how: Any) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if not len(boxes):
            return
        corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3], [0, 1]]].reshape(-1, 2)  # (5 n, 2)
        codes = np.tile([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], len(boxes))
        self._axes.add_artist(PathPatch(Path(corners, codes), zorder=2, snap=False, **how))  # asks for no limits


def level_of(confidence: np.ndarray) -> np.ndarray:
    """Steps of confidence (n,); what is not known is certain."""
    return np.rint(np.clip(np.nan_to_num(confidence, nan=1.0), 0, 1) * LEVELS).astype(int)
