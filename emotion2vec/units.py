"""Amounts as people read them: durations, and speeds of anything between far too slow and very fast."""

from __future__ import annotations

ESTIMATED_FROM = 600.0
"""What bars estimate the time left from, in s; rich's default has none when steps take longer than half a minute."""


def duration(seconds: float) -> str:
    """Say how long something is: `0.40 s`, `42 s`, `25 min`, `12.5 h`, `1,234 h`.

    Args:
        seconds: 0 or more, in s.
    """
    if seconds < 600:
        return f"{digits(seconds)} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 99.95 else f"{hours:,.0f} h"


def data_size(count: float) -> str:
    """Say how many bytes something takes: `812 bytes`, `3.4 kB`, `235 MB`, `12 GB`, `1,800 TB`."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * one:
            return f"{digits(count / one)} {unit}"
    return counted(round(count), "byte")


def digits(value: float) -> str:
    """Write a number of 0 or more in whole numbers, or with two digits where it is small, so that none looks like 0."""
    return f"{value:#.2g}" if value < 9.95 else f"{value:,.0f}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Say how many of something there are: `1 clip is`, `2 clips are`.

    Args:
        count: how many.
        one: what one is called, and what goes with it.
        many: what several are called; by default with an s.
    """
    return f"{count} {one if count == 1 else many or one + 's'}"
