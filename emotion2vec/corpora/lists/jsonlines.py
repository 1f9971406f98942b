"""JSON lines: EmoBox's (`wav`, `audio`), NeMo's (`audio_filepath`, `offset`, `duration`) and Lhotse's cuts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.lhotse import CUT_TYPES, lhotse_row
from emotion2vec.corpora.lists.lines import Lines
from emotion2vec.corpora.lists.rows import Parsed, Row, channel_of, collect, facts_of, span_of, text_of
from emotion2vec.corpora.lists.spans import check_whole
from emotion2vec.documents import MOST_JSON

AUDIO_FIELDS = ("audio_filepath", "wav", "audio")
"""Names of the audio's path: NeMo's, then EmoBox's two."""


def parse_json_lines(source: Path, lines: Lines, names: Names | None = None) -> Parsed:
    """Read one object a line, of any of the three kinds; names of columns are those of fields."""
    names = names or Names()

    def parse(number: int, line: str) -> Row:
        record = json_object(line)
        kind = record.get("type")
        if isinstance(kind, str) and kind in CUT_TYPES:
            return lhotse_row(number, record)
        if "sources" in record:
            raise ValueError("found a Lhotse recording, expected a cut: make cuts with 'lhotse cut simple'")
        return _named_row(number, record, names)

    return collect(source, lines, parse)


def _named_row(number: int, record: Mapping[str, Any], names: Names) -> Row:
    """The row that an object is, read under the user's names."""
    check_whole([name.lower() for name in record], names.columns)
    named = names.record(record)
    if "file" in names.columns:
        named = {AUDIO_FIELDS[0]: named.get("file")} | {key: value for key, value in named.items() if key != "file"}
    row = json_row(number, named)
    if (rest := names.rest([name for name, value in record.items() if isinstance(value, str | int | float)])) is None:
        return row
    kept = {name: value for name, value in rest(record).items() if name not in AUDIO_FIELDS}
    return replace(row, facts={**row.facts, "row": kept})


def json_object(line: str) -> dict[str, Any]:
    """The object that a line holds.

    Raises:
        ValueError: it holds none.
    """
    if len(line) > MOST_JSON:
        raise ValueError(f"the line has {len(line):,} characters, expected at most {MOST_JSON:,}")
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(record, dict):
        raise ValueError(f"found {type(record).__name__}, expected one JSON object a line")
    return record


def json_row(number: int, record: Mapping[str, Any]) -> Row:
    """The row that an object of EmoBox's or NeMo's is.

    Raises:
        ValueError: it names no audio, or a segment or channel that cannot be.
    """
    path = next((record[name] for name in AUDIO_FIELDS if record.get(name)), None)
    if not isinstance(path, str):
        raise ValueError(f"no path: expected text in one of {', '.join(AUDIO_FIELDS)}, found the fields {list(record)}")
    start, duration = span_of(record)
    return Row(
        line=number,
        path=path,
        key=text_of(record, ("key", "id")),
        start=start,
        duration=duration,
        channel=None if "wav" in record else channel_of(record),  # EmoBox's `channel` is how many there are
        facts=facts_of(record),
    )
