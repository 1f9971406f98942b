"""Rows of lists of every kind: what one states of an utterance, and the audio that it names.

Every kind of list has a module that parses its lines to rows and to faults of the lines that are none.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from emotion2vec.corpora.faults import Fault, reason_of
from emotion2vec.corpora.lists.folders import audio_files
from emotion2vec.corpora.lists.locate import Located, Locator
from emotion2vec.corpora.names import path_id, span_name
from emotion2vec.corpora.utterance import Utterance

LABEL_FIELDS = ("label", "emotion", "emo")
"""Names of the label in tables and JSON lines."""

SPEAKER_FIELDS = ("speaker", "spk")
"""Names of the speaker in tables and JSON lines."""

START_FIELDS, END_FIELDS = ("start", "offset", "start_time", "begin"), ("end", "end_time", "stop")
"""Names of where a segment starts and ends, in s."""

OTHER_FACTS = ("gender", "session", "fold", "split", "text", "sentence", "intensity", "corpus", "language", "dialogue")
"""Names of what else is known of an utterance, which are those of the fields of `Utterance`."""

MOST_SECONDS = 1e9
"""Latest time that lists may name, in s: thirty years."""

MOST_CHANNELS = 65_536
"""Channels that audio may have."""

Entry = TypeVar("Entry")
AnyRow = TypeVar("AnyRow")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry as a list states it.

    Attributes:
        line: its line.
        path: the audio, as written.
        key: the id that the list gives it.
        start: start of the segment, in s.
        duration: its length, in s.
        channel: the channel to take, counted from 0.
        facts: what else is known, by the fields of `Utterance`.

    Raises:
        ValueError: path or key is no text, or the segment or channel is one that no audio has.
    """

    line: int
    path: str
    key: str | None = None
    start: float | None = None
    duration: float | None = None
    channel: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("path", self.path), ("id", "" if self.key is None else self.key)):
            if not isinstance(value, str):
                raise ValueError(f"the {name} is a {type(value).__name__}, expected text")
        check_span(self.start, self.duration, self.channel)

    @property
    def stretch(self) -> str:
        """Name for documents: the audio as written, and where the segment starts in it."""
        whole = self.start is None and self.duration is None
        return self.path if whole else f"{self.path} from {self.start or 0.0:g} s"


Parsed = tuple[list[Row], list[Fault]]


def collect(
    source: Path, entries: Sequence[tuple[int, Entry]], parse: Callable[[int, Entry], AnyRow]
) -> tuple[list[AnyRow], list[Fault]]:
    """Parse each numbered entry; whatever `parse` raises is the fault of its line alone."""
    rows: list[AnyRow] = []
    faults: list[Fault] = []
    for number, entry in entries:
        try:
            rows.append(parse(number, entry))
        except Exception as error:  # whatever one line holds must not end a job of many
            faults.append(Fault(f"{source}:{number}", reason_of(error)))
    return rows, faults


def check_span(start: Any, duration: Any, channel: Any) -> None:
    """See to it that a segment and a channel are such as audio may have; None stands for all of it.

    Raises:
        ValueError: a time is no number from 0 to `MOST_SECONDS`, or the channel none below `MOST_CHANNELS`.
    """
    for name, value in (("start", start), ("duration", duration)):
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= MOST_SECONDS):
            raise ValueError(f"the {name} is {value!r}, expected seconds, 0 to {MOST_SECONDS:g}")
    if channel is not None and not (isinstance(channel, int) and 0 <= channel < MOST_CHANNELS):
        raise ValueError(f"the channel is {channel!r}, expected a number, 0 to {MOST_CHANNELS - 1}")


@dataclass(frozen=True)
class Found:
    """The audio of rows.

    Attributes:
        utterances: rows whose audio is there, and what they are; ids may not be unique yet.
        missing: rows whose audio is not there, and why.
        changes: rows whose audio was found otherwise than it was named, and how.
    """

    utterances: list[tuple[Row, Utterance]] = field(default_factory=list)
    missing: list[tuple[Row, str]] = field(default_factory=list)
    changes: list[tuple[Row, str, Path]] = field(default_factory=list)


def find_audio(rows: Sequence[Row], base: Path) -> Found:
    """Look the audio of rows up below a folder, as `emotion2vec.corpora.lists.locate` says.

    What is found otherwise than it is named, while another row is the same stretch of the same file, is missing; and
    so is what cannot be named.
    """
    base = Path(os.path.abspath(base))
    locator = Locator(base, lambda: audio_files(base))
    places = [locator.find(row.path) for row in rows]
    uses = Counter(
        (place.path, row.start, row.duration, row.channel)
        for row, place in zip(rows, places, strict=True)
        if isinstance(place, Located)
    )
    found = Found()
    for row, place in zip(rows, places, strict=True):
        if isinstance(place, str):
            found.missing.append((row, place))
        elif place.how is not None and uses[place.path, row.start, row.duration, row.channel] > 1:
            reason = f"{row.path!r} does not exist, and {place.path} of the same stem is named by another line too"
            found.missing.append((row, reason))
        else:
            try:
                found.utterances.append((row, _utterance(row, place, base)))
            except Exception as error:  # whatever one row holds must not end a job of many
                found.missing.append((row, reason_of(error)))
                continue
            if place.how is not None:
                found.changes.append((row, place.how, place.path))
    return found


def _utterance(row: Row, place: Located, base: Path) -> Utterance:
    return Utterance(
        id=row.key or path_id(base / place.listed, base) + span_name(row.start, row.duration),
        audio=place.path,
        file=PurePosixPath(place.listed).as_posix(),
        start=row.start,
        duration=row.duration,
        channel=row.channel,
        **row.facts,
    )


def facts_of(record: Mapping[str, Any]) -> dict[str, str]:
    """What a record says of an utterance beside its audio, by the fields of `Utterance`."""
    named = {"label": LABEL_FIELDS, "speaker": SPEAKER_FIELDS, **{name: (name,) for name in OTHER_FACTS}}
    return {name: value for name, fields in named.items() if (value := text_of(record, fields)) is not None}


def text_of(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the named fields that is present and not blank, as text."""
    values = (str(record[name]).strip() for name in names if record.get(name) is not None)
    return next((value for value in values if value), None)


def span_of(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Start and duration of a record's segment, in s; None for the file's own.

    A duration without a start describes the whole file, so nothing is cut out.

    Raises:
        ValueError: a time is none, or times contradict each other.
    """
    start, end = (_first_seconds(record, names) for names in (START_FIELDS, END_FIELDS))
    duration = None if start is None else _seconds(record, "duration")
    if duration == 0:
        raise ValueError("the field 'duration' is 0, expected a positive number of seconds")
    if end is None:
        return start, duration
    start = start or 0.0
    if end <= start:
        raise ValueError(f"the segment ends at {end:g} s, expected an end after its start at {start:g} s")
    if duration is not None and not math.isclose(duration, end - start, abs_tol=0.02):
        raise ValueError(f"the segment lasts {duration:g} s and ends {end - start:g} s after its start, expected one")
    return start, end - start


def channel_of(record: Mapping[str, Any]) -> int | None:
    """A record's channel, counted from 0 as `--channel` is.

    Raises:
        ValueError: it is no number.
    """
    value = record.get("channel")
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"the field 'channel' is {text!r}, expected a number, from 0 on")
    return int(text)


def _first_seconds(record: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return next((value for name in names if (value := _seconds(record, name)) is not None), None)


def _seconds(record: Mapping[str, Any], name: str) -> float | None:
    """A time in seconds; an absent or empty field is None."""
    value = record.get(name)
    if value is None or str(value).strip() == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= MOST_SECONDS:
        expected = f"expected a number of seconds, 0 to {MOST_SECONDS:g}{pointed(value)}"
        raise ValueError(f"the field {name!r} is {value!r}, {expected}")
    return seconds


def pointed(value: Any) -> str:
    """How a number with a decimal comma is to be written, behind what was expected; empty for any other text."""
    text = str(value).strip()
    return f", with a point: {text.replace(',', '.')}" if re.fullmatch(r"[-+]?\d+,\d+", text) else ""
