"""Colours and hatches of labels: the colour-blind tell the colours apart, and those who see grey the hatches.

The colours are those of Okabe and Ito (2008), with a grey beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Colour = tuple[float, float, float]


class Look(NamedTuple):
    """How stretches of a label look.

    Attributes:
        colour: red, green and blue from 0 to 1, where the label is certain.
        hatch: as matplotlib calls it.
    """

    colour: Colour
    hatch: str


LOOKS = (
    Look((0.835, 0.369, 0.0), "xxxx"),
    Look((0.902, 0.624, 0.0), "----"),
    Look((0.0, 0.447, 0.698), "\\\\\\\\"),
    Look((0.6, 0.6, 0.6), ""),
    Look((0.8, 0.475, 0.655), "||||"),
    Look((0.0, 0.62, 0.451), "++++"),
    Look((0.337, 0.706, 0.914), "////"),
    Look((0.941, 0.894, 0.259), "o"),
    Look((0.25, 0.25, 0.25), ".."),
)

FAMILIAR = ("ang", "hap", "sad", "neu", "fea", "dis", "sur")
"""What labels begin with that always have the looks in this order, whatever a model's labels are."""

LEAST_TINT = 0.2
"""How much there is of its colour in a stretch whose confidence is 0; one of 1 has all of it."""

LEVELS = 20
"""Steps of confidence that can be seen."""


def looks_of(labels: Sequence[str]) -> list[Look]:
    """How each label looks; where there are more labels than colours, they come again with other hatches."""
    found: dict[int, int] = {}
    for number, label in enumerate(labels):
        place = next((place for place, start in enumerate(FAMILIAR) if label.lower().startswith(start)), None)
        if place is not None and place not in found.values():
            found[number] = place
    free = [place for place in range(len(LOOKS)) if place not in found.values()]
    for number in range(len(labels)):
        if number not in found:
            found[number] = free.pop(0) if free else len(LOOKS) + number
    return [_look(found[number]) for number in range(len(labels))]


def _look(place: int) -> Look:
    turn, place = divmod(place, len(LOOKS))
    return Look(LOOKS[place].colour, LOOKS[(place + 2 * turn) % len(LOOKS)].hatch)


def tinted(colour: Colour, level: int) -> Colour:
    """A colour at a step of confidence, on white."""
    share = LEAST_TINT + (1 - LEAST_TINT) * min(level, LEVELS) / LEVELS
    red, green, blue = (1 - share * (1 - one) for one in colour)
    return red, green, blue


class Curve(NamedTuple):
    """How a line of values looks: its colour, and its dashes as matplotlib calls them."""

    colour: Colour
    dashes: str


CURVES = tuple(
    Curve(LOOKS[place].colour, dashes)
    for place, dashes in ((2, "-"), (0, "--"), (5, "-."), (4, ":"), (8, "-"), (1, "--"), (6, "-."))
)
