"""Annotations of one recording as lists of segments: Praat's TextGrid and ELAN's .eaf; a tier is a speaker."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from emotion2vec.corpora.faults import Fault, reason_of
from emotion2vec.corpora.lists.lines import narrow
from emotion2vec.corpora.lists.segments import Segment
from emotion2vec.corpora.names import normal, stem
from emotion2vec.errors import ManifestError

SUFFIXES = (".textgrid", ".eaf")

MOST_BYTES = 1 << 26
"""Bytes of a file: hours of annotated speech have a few million."""

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?:(?<=\s)|^)(-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?=\s|$)')
"""What counts in a TextGrid, long or short: texts in quotes, and numbers that stand free."""

Mark = tuple[str, Any, Any, str]
"""Tier, start and end in s as they are written, and text."""


def read_marks(source: Path, known: Container[str] = ()) -> tuple[list[Segment], list[Fault]]:
    """Read the intervals of a TextGrid or the aligned annotations of an .eaf that have a text.

    The recording is called as the file is, or for an .eaf as the media that it links, where that is known.

    Args:
        source: the file.
        known: names of recordings in their normal form.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        if source.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
        raw = source.read_bytes()
        if source.suffix.lower() == ".eaf":
            recording, marks = _elan(raw, known, stem(source.stem))
        else:
            recording, marks = stem(source.stem), _textgrid(raw)
        segments, faults = [], []
        for number, mark in enumerate(marks, start=1):
            try:
                segments.append(_segment(number, recording, mark))
            except ValueError as error:
                faults.append(Fault(f"{source}:{number}", reason_of(error)))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        kind = "an .eaf of ELAN" if source.suffix.lower() == ".eaf" else "a TextGrid of Praat"
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"{source}: cannot be read as {kind}: {reason}") from error
    return segments, faults


def _segment(number: int, recording: str, mark: Mark) -> Segment:
    tier, first, last, text = mark
    start, end = float(first), float(last)
    if end <= start:
        raise ValueError(f"the interval {text[:40]!r} of {tier!r} ends at {end:g} s, expected after {start:g} s")
    return Segment(number, recording, start, end - start, speaker=tier or None, text=text)


def _textgrid(raw: bytes) -> Iterator[Mark]:
    """Intervals with a text; tiers of points have none."""
    try:
        text = narrow(raw).decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what Praat wrote before Unicode
    tokens = [
        found[1].replace('""', '"') if found[1] is not None else float(found[2]) for found in TOKEN.finditer(text)
    ]
    if tokens[:2] != ["ooTextFile", "TextGrid"]:
        raise ValueError(f'it begins with {text[:40]!r}, expected File type = "ooTextFile"')
    places = iter(tokens[2:])

    def take(kind: type) -> Any:
        found = next(places, None)
        if not isinstance(found, kind):
            raise ValueError(
                f"found {found!r}, expected a {'text' if kind is str else 'number'}: it is cut off or broken"
            )
        return found

    take(float), take(float)
    for _ in range(int(take(float))):
        is_points, tier = take(str) == "TextTier", take(str)
        take(float), take(float)
        for _ in range(int(take(float))):
            start = take(float)
            end = start if is_points else take(float)
            said = take(str).strip()
            if said and not is_points:
                yield tier, start, end, said


def _elan(raw: bytes, known: Container[str], name: str) -> tuple[str, Iterator[Mark]]:
    """The recording, and annotations that have times of their own."""
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise ValueError("it declares entities, which ELAN does not write")
    root = ElementTree.fromstring(raw)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise ValueError(f"it is a {root.tag}, expected an ANNOTATION_DOCUMENT")
    linked = [stem(PurePosixPath(media.get("MEDIA_URL", ""))) for media in root.iter("MEDIA_DESCRIPTOR")]
    recording = next((media for media in linked if normal(media) in known), name)
    return recording, _aligned(root)


def _aligned(root: ElementTree.Element) -> Iterator[Mark]:
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        who = tier.get("PARTICIPANT") or tier.get("TIER_ID") or ""
        for mark in tier.iter("ALIGNABLE_ANNOTATION"):
            said = (mark.findtext("ANNOTATION_VALUE") or "").strip()
            span = [times.get(mark.get(f"TIME_SLOT_REF{number}")) for number in (1, 2)]
            if said and None not in span:
                yield who, int(span[0] or 0) / 1000, int(span[1] or 0) / 1000, said
