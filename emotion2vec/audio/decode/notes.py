"""What decoding a file found out that its listener should know."""

from __future__ import annotations

from typing import NamedTuple

DAMAGED = "damaged"
"""Bytes are missing or broken, so that sound is missing or has moved: a fault, unless damaged files are accepted."""

LENGTH_DIFFERS = "length-differs"
"""The file states another length than it has; what it has was read."""

LOUDER_CHANNEL = "louder-channel"
"""The channels cancel each other, so the louder one was taken in place of their mean."""

UNFINISHED = "unfinished"
"""The stream has no end mark: whoever wrote it was stopped, or never wrote one."""


class Note(NamedTuple):
    """One such thing: its kind, which programs read, and a sentence for people."""

    kind: str
    text: str
