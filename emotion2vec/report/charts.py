"""Charts of the report as inline SVG: scatter plots, layer weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

PALETTE = (
    "#4269d0",
    "#e8902e",
    "#d6404e",
    "#3ca951",
    "#9c6b4e",
    "#a463f2",
    "#2aa7b8",
    "#e377c2",
    "#7f8a93",
    "#b5a11b",
    "#1f5f8b",
    "#8c564b",
)
"""Colours that stay apart in print and for most colour-blind readers; more groups than these share the last."""

SIZE, MARGIN = 260, 8

MOST_NUMBERS = 20
"""Layers whose numbers fit below a chart."""


def scatter(points: Sequence[Sequence[float]], groups: Sequence[str], title: str) -> str:
    """Draw points coloured by group, with a legend in alphabetical order; of too many, the smallest share a colour."""
    xs, ys = (_scaled([point[axis] for point in points]) for axis in (0, 1))
    count = Counter(groups)
    several = len(count) > len(PALETTE)
    shown = sorted(group for group, _ in count.most_common(len(PALETTE) - several))
    colour = dict.fromkeys(count, PALETTE[-1]) | dict(zip(shown, PALETTE, strict=False))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{SIZE - y:.1f}" r="2.2" fill="{colour[group]}"/>'
        for x, y, group in zip(xs, ys, groups, strict=True)
    )
    legend = "".join(f'<li><i style="background:{colour[group]}"></i>{escape(group)}</li>' for group in shown)
    if several:
        legend += f'<li><i style="background:{PALETTE[-1]}"></i>{len(count) - len(shown)} more</li>'
    return (
        f'<figure class="plot"><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {SIZE} {SIZE}" role="img" '
        f'aria-label="{escape(title)}"><g fill-opacity="0.65">{dots}</g></svg><ul class="legend">{legend}</ul></figure>'
    )


def agreement(pairs: Sequence[Sequence[float]], title: str) -> str:
    """Draw predicted values over true ones, with the line on which they agree.

    Predictions outside the range of the true values by more than half of it are drawn at the edge, and counted; all
    are drawn where they are when there is only one true value.
    """
    truth, guesses = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    reach = (max(truth) - min(truth)) / 2
    lowest, highest = min(truth) - reach, max(truth) + reach
    drawn = [min(max(guess, lowest), highest) for guess in guesses] if reach else guesses
    beyond = sum(place != guess for place, guess in zip(drawn, guesses, strict=True))
    values = [value for pair in zip(truth, drawn, strict=True) for value in pair]
    scaled = _scaled(values)
    dots = "".join(
        f'<circle cx="{across:.1f}" cy="{SIZE - up:.1f}" r="2.2"/>'
        for across, up in zip(scaled[::2], scaled[1::2], strict=True)
    )
    low, high = (f"{value:.1f}" for value in (min(values), max(values)))
    counted = f"{len(pairs)} test clips" + f", {beyond} of them beyond" * bool(beyond)
    return (
        f'<figure class="plot"><figcaption>{escape(title)}: predicted (up) over true (across), both from {low} to '
        f'{high}; {counted}</figcaption><svg class="agreement" viewBox="0 0 {SIZE} {SIZE}" role="img" '
        f'aria-label="{escape(title)}, predicted over true">'
        f'<path d="M{MARGIN} {SIZE - MARGIN}L{SIZE - MARGIN} {MARGIN}"/><g fill-opacity="0.5">{dots}</g></svg></figure>'
    )


def mapping_table(mapping: Mapping[str, Mapping[str, str]], classes: Sequence[str]) -> str:
    """Lay out which labels of each corpus became which class; the last column has those that were left out."""
    names = [*classes, ""]
    head = "".join(f"<th>{escape(name) or 'left out'}</th>" for name in names)
    body = ""
    for corpus, labels in mapping.items():
        cells = "".join(
            f"<td>{escape(', '.join(label for label, to in labels.items() if to == name)) or '–'}</td>"
            for name in names
        )
        body += f"<tr><th>{escape(corpus)}</th>{cells}</tr>"
    return f'<div class="wide"><table><thead><tr><th>corpus</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def layer_bars(weights: Sequence[float], title: str) -> str:
    """Draw one bar per layer, as high as its weight; numbers stand below as many as there is room for."""
    top, width = max(weights), SIZE / len(weights)
    step = -(-len(weights) // MOST_NUMBERS)
    bars = "".join(
        f'<rect x="{place * width + 1:.1f}" y="{110 - 90 * weight / top:.1f}" width="{width - 2:.1f}" '
        f'height="{90 * weight / top:.1f}"><title>layer {place}: {weight:.3f}</title></rect>'
        + (f'<text x="{(place + 0.5) * width:.1f}" y="124">{place}</text>' if place % step == 0 else "")
        for place, weight in enumerate(weights)
    )
    equal = 1 / len(weights)
    title = f"{title}: {min(weights):.3f} to {top:.3f}; all alike would be {equal:.3f}"
    return (
        f'<figure class="plot"><figcaption>{escape(title)}</figcaption>'
        f'<svg class="bars" viewBox="0 0 {SIZE} 130" role="img" aria-label="{escape(title)}">{bars}</svg></figure>'
    )


def _scaled(values: Sequence[float]) -> list[float]:
    """Places within a chart, from the lowest value at one margin to the highest at the other."""
    low, high = min(values), max(values)
    shares = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    return [MARGIN + (SIZE - 2 * MARGIN) * share for share in shares]


def confusion_table(confusion: Sequence[Sequence[int]], classes: Sequence[str], seeds: int) -> str:
    """Lay out a confusion matrix summed over seeds: rows are the truth, cells the share of their row in percent."""
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in classes)
    body = ""
    for name, row in zip(classes, confusion, strict=True):
        total = sum(row)
        cells = ""
        for count in row:
            share = count / total if total else 0.0
            cells += f'<td style="--share:{share:.3f}">{100 * share:.0f}</td>'
        body += f'<tr><th>{escape(name)}</th>{cells}<td class="n">{total // seeds}</td></tr>'
    what = (
        "Confusions: the share of each true class (rows, with the number of their clips) that was taken for each class"
    )
    over = f"all test clips of {seeds} seeds together" if seeds > 1 else "all test clips together"
    return (
        f'<p class="note">{what} (columns), in %, {over}.</p><div class="wide"><table class="confusion">'
        f'<thead><tr><th>true \\ predicted</th>{head}<th class="n">clips</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
