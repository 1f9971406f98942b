"""Parsers of every accepted kind of manifest: lines of text to rows, without touching the audio.

Each parser returns the rows that it could read and the faults of the lines that it could not. Light: neither torch nor
Lhotse is imported, except to read a Lhotse manifest.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.lines import Lines, parse_records
from emotion2vec.errors import ManifestError

AUDIO_FIELDS = ("audio_filepath", "audio", "wav")
"""Names of the audio's path in JSON lines: NeMo's, then EmoBox's two."""

LABEL_FIELDS = ("emotion", "label", "emo")
"""Names of the label in tables and JSON lines."""

SPEAKER_FIELDS = ("speaker", "spk")
"""Names of the speaker in tables and JSON lines."""

LHOTSE_CUT_TYPES = frozenset({"Cut", "MonoCut", "MultiCut", "MixedCut", "PaddingCut"})


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry as a manifest states it: `path` is as written, times are in seconds."""

    line: int
    path: str
    key: str | None = None
    start: float | None = None
    duration: float | None = None
    channel: int | None = None
    label: str | None = None
    speaker: str | None = None


Parsed = tuple[list[Row], list[Fault]]
Entry = TypeVar("Entry")


def is_fairseq(lines: Lines) -> bool:
    """Tell a fairseq manifest (root line, then `path<TAB>samples`) from a table that has a header."""
    if len(lines) < 2 or "\t" in lines[0][1]:
        return False
    fields = lines[1][1].split("\t")
    return len(fields) == 2 and fields[1].strip().isdigit()


def parse_fairseq(source: Path, lines: Lines) -> Parsed:
    """Read the entries of a fairseq manifest; the counts of samples are not needed and not trusted."""
    return _collect(source, lines[1:], lambda number, line: Row(line=number, path=line.split("\t")[0]))


def parse_scp(source: Path, lines: Lines) -> Parsed:
    """Read a Kaldi `key path` list.

    Raises:
        ManifestError: an entry is a command (`... |`); commands are never run.
    """
    pipes = [number for number, line in lines if line.rstrip().endswith("|")]
    if pipes:
        raise ManifestError(
            f"{source}:{pipes[0]}: the entry is a command to run ('... |'; {len(pipes)} of {len(lines)} entries are), "
            "and commands are never run; expected 'key path': write the audio to files first"
        )

    def parse(number: int, line: str) -> Row:
        key, *path = re.split(r"[ \t]+", line.lstrip(" \t"), maxsplit=1)
        if not path or not path[0].strip():
            raise ValueError(f"found {line.strip()!r}, expected 'key path'")
        return Row(line=number, key=key, path=path[0])

    return _collect(source, lines, parse)


def parse_table(source: Path, lines: Lines) -> Parsed:
    """Read a comma-, semicolon- or tab-separated table whose header names at least the column `file`.

    Optional columns: `emotion`, `label` or `emo`; `speaker` or `spk`; `start` and `end` in seconds.

    Raises:
        ManifestError: there is no `file` column, or one of two headers.
    """
    table = parse_records(source, lines)
    if "file" not in [column.lower() for column in table.columns]:
        raise ManifestError(f"{source}: expected a header with a column 'file', found the columns {table.columns}")
    records = [(line, {name.lower(): cell for name, cell in cells.items()}) for line, cells in table.records]
    rows, faults = _collect(source, records, _table_row)
    return rows, [*table.faults, *faults]


def _table_row(number: int, record: Mapping[str, str]) -> Row:
    path = record.get("file", "")
    if not path.strip():
        raise ValueError("the column 'file' is empty, expected a path")
    start, duration = _span(record)
    return Row(
        line=number,
        path=path,
        start=start,
        duration=duration,
        channel=_channel(record),
        label=_text(record, LABEL_FIELDS),
        speaker=_text(record, SPEAKER_FIELDS),
    )


def parse_json_lines(source: Path, lines: Lines) -> Parsed:
    """Read JSON lines: EmoBox's (`wav`, `audio`), NeMo's (`audio_filepath`, `offset`, `duration`) or Lhotse's cuts."""

    def parse(number: int, line: str) -> Row:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"broken JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(record, dict):
            raise ValueError(f"found {type(record).__name__}, expected one JSON object a line")
        if record.get("type") in LHOTSE_CUT_TYPES:
            return _lhotse_row(number, record)
        if "sources" in record:
            raise ValueError("found a Lhotse recording, expected a cut: make cuts with 'lhotse cut simple'")
        return _json_row(number, record)

    return _collect(source, lines, parse)


def _json_row(number: int, record: Mapping[str, Any]) -> Row:
    path = next((record[name] for name in AUDIO_FIELDS if record.get(name)), None)
    if not isinstance(path, str):
        raise ValueError(f"no path: expected text in one of {', '.join(AUDIO_FIELDS)}, found the fields {list(record)}")
    start, duration = _span(record)
    return Row(
        line=number,
        path=path,
        key=_text(record, ("key", "id")),
        start=start,
        duration=duration,
        channel=None if "wav" in record else _channel(record),  # EmoBox's `channel` is how many there are
        label=_text(record, LABEL_FIELDS),
        speaker=_text(record, SPEAKER_FIELDS),
    )


START_FIELDS, END_FIELDS = ("start", "offset", "start_time", "begin"), ("end", "end_time", "stop")
"""Fields and columns of where a segment starts and ends, in s."""


def _span(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Start and duration of a row's segment, in s; None for the file's own.

    A duration without a start describes the whole file, so nothing is cut out.
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


def _first_seconds(record: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return next((value for name in names if (value := _seconds(record, name)) is not None), None)


def _channel(record: Mapping[str, Any]) -> int | None:
    """A row's channel, counted from 0 as `--channel` is."""
    value = record.get("channel")
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"the field 'channel' is {text!r}, expected a number, from 0 on")
    return int(text)


def _lhotse_row(number: int, record: dict[str, Any]) -> Row:
    """Let Lhotse read one cut, and keep what names its audio: one file, a span, a channel or all of them."""
    from lhotse.serialization import deserialize_item

    kind = record["type"]
    if kind not in ("Cut", "MonoCut", "MultiCut"):
        raise ValueError(f"found a Lhotse {kind}, expected cuts of one recording (MonoCut or MultiCut)")
    try:
        cut = deserialize_item(record)
        recording = cut.recording
        sources = [] if recording is None else recording.sources
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ValueError(f"Lhotse cannot read the cut: {type(error).__name__}: {error}") from error
    if len(sources) != 1 or sources[0].type != "file":
        kinds = [source.type for source in sources]
        raise ValueError(f"cut {cut.id!r} has sources {kinds}, expected a recording of one 'file'")
    if recording.transforms:
        raise ValueError(f"cut {cut.id!r} has transforms on its recording, expected audio as it is on disk")
    supervision = cut.supervisions[0] if cut.supervisions else None
    custom = {**(cut.custom or {}), **(supervision.custom or {} if supervision else {})}
    whole = cut.start == 0 and math.isclose(cut.duration, recording.duration, abs_tol=1e-3)
    return Row(
        line=number,
        path=sources[0].source,
        key=cut.id,
        start=None if whole else cut.start,
        duration=None if whole else cut.duration,
        channel=_lhotse_channel(cut, sources[0].channels),
        label=_text(custom, LABEL_FIELDS),
        speaker=supervision.speaker if supervision else None,
    )


def _lhotse_channel(cut: Any, available: list[int]) -> int | None:
    """Place of the cut's only channel in its file; None stands for the mean of all of them."""
    wanted = [cut.channel] if isinstance(cut.channel, int) else list(cut.channel)
    if sorted(wanted) == sorted(available):
        return None
    if len(wanted) != 1 or wanted[0] not in available:
        raise ValueError(f"cut {cut.id!r} takes channels {wanted} of {available}, expected one of them or all")
    return available.index(wanted[0])


def _collect(source: Path, entries: Sequence[tuple[int, Entry]], parse: Callable[[int, Entry], Row]) -> Parsed:
    """Parse each numbered entry; a ValueError from `parse` becomes the fault of its line."""
    rows: list[Row] = []
    faults: list[Fault] = []
    for number, entry in entries:
        try:
            rows.append(parse(number, entry))
        except ValueError as error:
            faults.append(Fault(f"{source}:{number}", str(error)))
    return rows, faults


def _seconds(record: Mapping[str, Any], name: str) -> float | None:
    """A time in seconds; an absent or empty field is None."""
    value = record.get(name)
    if value is None or str(value).strip() == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"the field {name!r} is {value!r}, expected a number of seconds, 0 or more")
    return seconds


def _text(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of the named fields that is present and not blank, as text."""
    values = (str(record[name]).strip() for name in names if record.get(name) is not None)
    return next((value for value in values if value), None)
