"""Two clips compared, as HTML: the cosine of their features, and where they lie among clips of known emotions.

N: clips of the reference. D: model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from emotion2vec.extraction.results.timelines.palette import looks_of
from emotion2vec.serve.page.reference import Reference, cosine, share_below

WIDE, HIGH, EDGE = 640, 420, 26
"""Units of the map, and of its margin."""

MARKS = (
    '<circle r="4"/>',
    '<path d="M-4,-4H4V4H-4Z"/>',
    '<path d="M0,-5L5,4H-5Z"/>',
    '<path d="M0,-5.5L5.5,0L0,5.5L-5.5,0Z"/>',
    '<path d="M-5,-4H5L0,5Z"/>',
    '<path d="M-1.5,-5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z"/>',
    '<path d="M0,-5.5L1.6,-1.7L5.5,-1.7L2.4,.8L3.6,4.8L0,2.5L-3.6,4.8L-2.4,.8L-5.5,-1.7L-1.6,-1.7Z"/>',
)
"""Shapes of labels, for those who do not tell their colours apart."""


def comparison(
    names: tuple[str, str], vectors: tuple[np.ndarray, np.ndarray], model: str, reference: Reference | None
) -> str:
    """What is said of two clips.

    Args:
        names: of the clips.
        vectors: their features (D,), twice.
        model: its name.
        reference: of the model; None where it has none.
    """
    value = cosine(*vectors)
    said = f'<p class="ev-lead">Cosine <b>{value:.3f}</b></p>'
    pair = f"{escape(names[0])} and {escape(names[1])}"
    if reference is None:
        told = (
            f"<p>This is the cosine of the features of {pair}, means over time of the last layer of {escape(model)}. "
            f"There is no map: {escape(model)} has no reference set, which comes with compact alone.</p>"
        )
        return f'<section class="ev-card" aria-label="Comparison">{said}{told}</section>'
    same, other = (share_below(value, one) for one in (reference.same, reference.different))
    told = (
        f"<p>{pair} are more alike than {100 * same:.0f} % of the reference’s pairs of speakers with the same emotion, "
        f"and than {100 * other:.0f} % of its pairs with different emotions.</p>"
    )
    places = [reference.place(vector) for vector in vectors]
    nearest = [_nearest(reference, place) for place in places]
    said_of = "".join(
        f"<li><b>{letter}</b> {escape(name)}: nearest to {escape(label)} on the map</li>"
        for letter, name, label in zip("AB", names, nearest, strict=True)
    )
    return (
        f'<section class="ev-card" aria-label="Comparison">{said}{told}<ul class="ev-done">{said_of}</ul>'
        f'{_map(reference, places, names)}<p class="ev-hint">{escape(reference.about)}</p></section>'
    )


def _nearest(reference: Reference, place: np.ndarray) -> str:
    """The label whose clips have the nearest mean."""
    means = _means(reference)
    return min(means, key=lambda label: float(np.linalg.norm(means[label] - place)))


def _means(reference: Reference) -> dict[str, np.ndarray]:
    labels = np.array(reference.labels)
    return {label: reference.points[labels == label].mean(axis=0) for label in dict.fromkeys(reference.labels)}


def _map(reference: Reference, places: Sequence[np.ndarray], names: tuple[str, str]) -> str:
    """The reference's clips, and the two among them."""
    everything = np.concatenate([reference.points, np.stack(places)])
    low, high = everything.min(axis=0), everything.max(axis=0)
    room = np.array([WIDE - 2 * EDGE, HIGH - 2 * EDGE])

    def on_paper(place: np.ndarray) -> tuple[float, float]:
        x, y = EDGE + room * (place - low) / np.where(high > low, high - low, 1.0)
        return float(x), float(HIGH - y)

    means = _means(reference)
    labels = list(means)
    looks = dict(zip(labels, looks_of(labels), strict=True))
    marks, words = [], []
    for number, label in enumerate(labels):
        red, green, blue = (round(255 * part) for part in looks[label].colour)
        mine = [place for place, its in zip(reference.points, reference.labels, strict=True) if its == label]
        shape = MARKS[number % len(MARKS)]
        shapes = "".join(f'<g transform="translate({x:.1f},{y:.1f})">{shape}</g>' for x, y in map(on_paper, mine))
        marks.append(f'<g class="ev-mark" style="--c:rgb({red},{green},{blue})">{shapes}</g>')
        x, y = on_paper(means[label])
        words.append(f'<text class="ev-word" x="{x:.1f}" y="{y:.1f}">{escape(label)}</text>')
    clips = []
    for letter, place, name in zip("AB", places, names, strict=True):
        x, y = on_paper(place)
        clips.append(
            f'<g class="ev-clip" transform="translate({x:.1f},{y:.1f})"><title>{escape(name)}</title>'
            f'<circle r="13"/><text dy="5">{letter}</text></g>'
        )
    told = f"Map of {len(reference.labels)} clips of {', '.join(labels)}, with A and B among them"
    return (
        f'<svg class="ev-map" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{escape(told)}">'
        f"{''.join(marks)}{''.join(words)}{''.join(clips)}</svg>"
    )
