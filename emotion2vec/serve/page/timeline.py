"""A clip over time as HTML: its waveform, and beneath it, on the same axis, what a model says; page.js makes it play.

W: windows. K: labels. P: columns of a picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from emotion2vec.extraction.results.timelines.layout import clock, steps
from emotion2vec.serve.page.said import Panel
from emotion2vec.serve.page.shelf import Heard

WIDE, HIGH = 1000, 100
"""Units of a picture, which is stretched to the room that there is."""

MOST_TICKS = 8
"""Of the axis."""


def timeline(heard: Heard, panels: Sequence[Panel], audio: str) -> str:
    """The picture of a clip.

    Args:
        heard: the clip.
        panels: what is said of it; none of a model without a head.
        audio: address of its sound.
    """
    lanes = [_lane("Waveform", "", "ev-wave", _waveform(heard))]
    said = []
    for panel in panels:
        if panel.title:
            lanes.append(f'<div class="ev-title">{escape(panel.title)}</div>')
        if not panel.values:
            lanes.append(_lane("Strongest", "", "ev-best", _strongest(panel, heard.seconds)))
        for number, label in enumerate(panel.labels):
            picture = _curve(panel, number, heard.seconds)
            lanes.append(_lane(label, panel.shown(panel.whole[number]), "", picture))
        texts = [[panel.shown(score) for score in row] for row in panel.rows]
        said.append({"labels": list(panel.labels), "edges": _rounded(panel.edges), "rows": texts, "best": _best(panel)})
    facts = escape(json.dumps({"seconds": round(heard.seconds, 4), "panels": said}))
    name = escape(heard.name)
    start = escape(_spoken(panels))
    return (
        f'<emotion-timeline data-facts="{facts}">'
        f'<div class="ev-bar"><button type="button" class="ev-play" aria-label="Play {name}">Play</button>'
        f'<span class="ev-time"></span>'
        f'<span class="ev-readout" aria-live="off"></span></div>'
        f'<div class="ev-plot" role="slider" tabindex="0" aria-label="Position in {name}" aria-valuemin="0" '
        f'aria-valuemax="{heard.seconds:.2f}" aria-valuenow="0" aria-valuetext="{start}" aria-describedby="ev-keys">'
        f'{"".join(lanes)}{_axis(heard.seconds)}<div class="ev-over" aria-hidden="true">'
        f'<i class="ev-hover" hidden></i><i class="ev-cursor"></i></div></div>'
        f'<p class="ev-hint" id="ev-keys">Click to play from there. Keys: arrows move, Space plays, Home and End.</p>'
        f'<audio preload="metadata" src="{escape(audio)}"></audio></emotion-timeline>'
    )


def _lane(name: str, value: str, kind: str, picture: str) -> str:
    return (
        f'<div class="ev-lane {kind}"><span class="ev-name">{escape(name)}</span>'
        f'<div class="ev-picture">{picture}</div><span class="ev-value">{value}</span></div>'
    )


def _svg(inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" aria-hidden="true">{inside}</svg>'


def _waveform(heard: Heard) -> str:
    """Least and greatest samples as one outline, as high as the loudest of them."""
    low, high = heard.peaks
    loudest = max(float(np.abs(heard.peaks).max()), 1e-4)
    across = np.linspace(0, WIDE, low.size)
    middle = HIGH / 2
    upper = [f"{x:.1f},{middle - 0.96 * middle * y / loudest - 0.4:.1f}" for x, y in zip(across, high, strict=True)]
    lower = [f"{x:.1f},{middle - 0.96 * middle * y / loudest + 0.4:.1f}" for x, y in zip(across, low, strict=True)]
    return _svg(f'<polygon points="{" ".join([*upper, *reversed(lower)])}"/>')


def _curve(panel: Panel, number: int, seconds: float) -> str:
    """One score over time, in steps as wide as windows."""
    low, high = panel.range
    path, line = [f"M0,{HIGH}"], list[str]()
    for (start, end), row in zip(pairwise(panel.edges), panel.rows, strict=True):
        y = HIGH * (1 - (row[number] - low) / (high - low))
        x, right = (WIDE * (edge - panel.edges[0]) / seconds for edge in (start, end))
        path.append(f"L{x:.1f},{y:.1f}H{right:.1f}")
        line.append(f"{'L' if line else 'M'}{x:.1f},{y:.1f}H{right:.1f}")
    path.append(f"V{HIGH}Z")
    colour = panel.colours[number]
    return _svg(
        f'<path class="ev-half" d="M0,{HIGH / 2}H{WIDE}"/>'
        f'<path class="ev-area" style="fill:{colour}" d="{"".join(path)}"/>'
        f'<path class="ev-line" style="stroke:{colour}" d="{"".join(line)}"/>'
    )


def _best(panel: Panel) -> list[int]:
    """The place of the strongest label of each window; none of values."""
    return [] if panel.values else [int(np.argmax(row)) for row in panel.rows]


def _strongest(panel: Panel, seconds: float) -> str:
    """Stretches of the same strongest label."""
    best = _best(panel)
    bounds = [0, *(place for place in range(1, len(best)) if best[place] != best[place - 1]), len(best)]
    found = []
    for first, last in pairwise(bounds):
        start, end = (panel.edges[place] - panel.edges[0] for place in (first, last))
        label, share = panel.labels[best[first]], (end - start) / seconds
        found.append(
            f'<b style="left:{100 * start / seconds:.2f}%;width:{100 * share:.2f}%;'
            f'--c:{panel.colours[best[first]]}" title="{escape(label)}"><span>{escape(label)}</span></b>'
        )
    return "".join(found)


def _axis(seconds: float) -> str:
    step = next(one for one in steps() if one * MOST_TICKS >= seconds)
    marks = [number * step for number in range(int(seconds / step + 1e-6) + 1)]
    ticks = "".join(
        f'<span style="left:{100 * mark / seconds:.2f}%">{clock(mark, step, seconds >= 120)}</span>' for mark in marks
    )
    unit = "" if seconds >= 120 else "s"
    return (
        f'<div class="ev-lane ev-axis" aria-hidden="true"><span class="ev-name"></span><div class="ev-picture">{ticks}'
        f'</div><span class="ev-value">{unit}</span></div>'
    )


def _rounded(edges: Sequence[float]) -> list[float]:
    return [round(edge, 4) for edge in edges]


def _spoken(panels: Sequence[Panel]) -> str:
    """What is said of the first window."""
    if not panels or panels[0].values:
        return "0.0 s"
    place = _best(panels[0])[0]
    return f"0.0 s: {panels[0].labels[place]} {panels[0].shown(panels[0].rows[0][place])}"
