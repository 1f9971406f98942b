"""Curves with axes, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from emotion2vec.report.charts import PALETTE

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 34
"""Room beside the drawing, for numbers and the name of the lower axis."""

Curve = Sequence[tuple[float, float]]
"""Points from left to right."""


def line_chart(
    curves: Mapping[str, Curve],
    title: str,
    across: str,
    *,
    bands: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    named: Sequence[tuple[float, str]] = (),
    notes: Mapping[str, str] | None = None,
    square: bool = False,
) -> str:
    """Draw curves, with a legend below.

    Args:
        curves: by their names; those without points are left out.
        title: stands above.
        across: name of the lower axis.
        bands: lowest and highest value at each point of a curve, by its name.
        named: places on the lower axis that are named, in place of round numbers.
        notes: what stands behind names of curves in the legend.
        square: draw from 0 to 100 % both ways, with the line where both are equal.
    """
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return ""
    ys = [y for points in curves.values() for _, y in points]
    ys += [y for limits in (bands or {}).values() for pair in limits for y in pair]
    xs = [x for points in curves.values() for x, _ in points]
    scale = _Scale(0, 100, 0, 100, WIDTH) if square else _Scale(min(xs), max(xs), *_padded(min(ys), max(ys)), HEIGHT)
    drawn, legend = "", ""
    if square:
        drawn = f'<path class="even" d="M{scale.x(0)} {scale.y(0)}L{scale.x(100)} {scale.y(100)}"/>'
    for number, (name, points) in enumerate(curves.items()):
        colour = PALETTE[min(number, len(PALETTE) - 1)]
        if limits := (bands or {}).get(name):
            drawn += _band(scale, points, limits, colour)
        path = "L".join(f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in points)
        drawn += f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'
        if len(points) <= 30:
            drawn += "".join(
                f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="2.4" fill="{colour}">'
                f"<title>{escape(name)}: {y:.4g} at {x:g}</title></circle>"
                for x, y in points
            )
        note = f": {notes[name]}" if notes and name in notes else ""
        legend += f'<li><i style="background:{colour}"></i>{escape(name + note)}</li>'
    return (
        f'<figure class="plot"><figcaption>{escape(title)}</figcaption>'
        f'<svg class="lines" viewBox="0 0 {WIDTH} {scale.height}" role="img" aria-label="{escape(title)}">'
        f'{_axes(scale, across, named)}{drawn}</svg><ul class="legend">{legend}</ul></figure>'
    )


class _Scale:
    """Places in the drawing of values from (left, low) to (right, high)."""

    def __init__(self, left: float, right: float, low: float, high: float, height: int):
        self.left, self.right = (left, right) if right > left else (left - 1, right + 1)
        self.low, self.high, self.height = low, high, height

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * (value - self.low) / (self.high - self.low)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high: multiples of 1, 2 or 5 times a power of ten, so many at most."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _axes(scale: _Scale, across: str, named: Sequence[tuple[float, str]]) -> str:
    """Lines and numbers."""
    found = ""
    for value in ticks(scale.low, scale.high, 5):
        y = scale.y(value)
        found += f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        found += f'<text class="up" x="{LEFT - 5}" y="{y + 3:.1f}">{_short(value)}</text>'
    places = list(named) or [(value, _short(value)) for value in ticks(scale.left, scale.right, 6)]
    for value, text in places:
        x = scale.x(value)
        found += f'<path class="grid" d="M{x:.1f} {scale.height - BOTTOM}v3"/>'
        found += f'<text x="{min(max(x, LEFT), WIDTH - 14):.1f}" y="{scale.height - BOTTOM + 13}">{escape(text)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    return found + f'<text x="{middle:.0f}" y="{scale.height - 5}">{escape(across)}</text>'


def _short(value: float) -> str:
    """A number of a few characters."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"


def _band(scale: _Scale, points: Curve, limits: Sequence[tuple[float, float]], colour: str) -> str:
    ways = [(x, low) for (x, _), (low, _) in zip(points, limits, strict=True)]
    ways += [(x, high) for (x, _), (_, high) in reversed(list(zip(points, limits, strict=True)))]
    path = "L".join(f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in ways)
    return f'<path d="M{path}Z" fill="{colour}" fill-opacity="0.18"/>'
