"""Entries of lists in configurations that say something of a name, such as NAME=PATH."""

from __future__ import annotations

import re


def scale(text: str) -> tuple[str, float, float] | None:
    """Name (empty for all), low and high end of NAME=LOW..HIGH; None where it is none."""
    number = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
    found = re.fullmatch(rf"(?:(.+)=)?\s*({number})\s*\.\.\s*({number})\s*", text)
    if found is None or float(found[2]) >= float(found[3]):
        return None
    return (found[1] or "").strip(), float(found[2]), float(found[3])


def part(text: str) -> tuple[str, float] | None:
    """Name and share of NAME=SHARE, above 0 and below 1; None where it is none."""
    name, number = pair(text)
    try:
        share = float(number)
    except ValueError:
        return None
    return (name, share) if name and 0 < share < 1 else None


def pair(text: str) -> tuple[str, str]:
    """The two sides of NAME=VALUE; the second is empty where there is no sign."""
    name, sign, value = text.partition("=")
    return (name.strip(), value.strip()) if sign else ("", "")
