"""Results that were written, or are a data frame -> recordings that can be drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.corpora.faults import SHOWN, Fault, examples, reason_of
from emotion2vec.corpora.lists.columns import DECIMAL_COMMA
from emotion2vec.corpora.lists.rows import END_FIELDS, LABEL_FIELDS, SPEAKER_FIELDS, START_FIELDS, check_span
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.results.rows import GIVEN
from emotion2vec.extraction.results.timelines.pictures import Timelines
from emotion2vec.extraction.results.timelines.reading import Records, is_table, read_frame, read_records
from emotion2vec.extraction.results.timelines.tracks import Collected, Said

if TYPE_CHECKING:
    import pandas as pd

SCORE, LABEL = "score:", ":label"
"""What the columns of the main head's scores begin with, and the one of a further head's label ends with."""

ALIASES = {"file": ("file",), "start": START_FIELDS, "end": END_FIELDS, "speaker": SPEAKER_FIELDS}
ALIASES |= {"channel": ("channel",), "label": LABEL_FIELDS, "confidence": ("confidence",)}
"""What columns are called, as in lists of audio, in lower case."""


def is_told(column: str) -> bool:
    """Whether a column may say something that is drawn."""
    return ":" in column or any(column.lower() in names for names in ALIASES.values())


def timelines(results: str | Path | pd.DataFrame) -> Timelines:
    """Take what is said of recordings out of results, to draw it: `timelines(...).save("talk.svg")`.

    Args:
        results: a table that `emotion2vec predict` wrote, of any kind that it writes; a folder of such tables, of which
            the first that tells of a recording counts, and what is none is passed over; or a data frame as
            `emotion2vec.predict` gives it. It has `file`, `start` and `end` in s and, as far as it says them,
            `speaker`, `channel`, `label`, `confidence`, `score:...` and values of further heads.

    Raises:
        ManifestError: it is none, cannot be read, or has no row that can be drawn.
        ConfigError: a package is missing.
    """
    if not isinstance(results, str | Path):
        return _joined([_Table("data frame", read_frame(results))])
    path = Path(results)
    if not path.is_dir():
        return _joined([_Table(str(path), read_records(path, is_told))])
    tables, unread = [], []
    for one in sorted(one for one in path.iterdir() if one.is_file() and is_table(one)):
        try:
            tables.append(_Table(str(one), read_records(one, is_told)))
        except ManifestError as error:  # of another program, or open in one
            unread.append(str(error))
    if not (told := [table for table in tables if not table.missing]):
        wanted = "expected one with the columns file, start and end"
        raise ManifestError(
            f"{path}: holds no table of results, {wanted}" + (f": {examples(unread)}" if unread else "")
        )
    return _joined(told)


class _Table:
    """A table of results.

    Args:
        name: of the table, for messages.
        records: its rows.
    """

    def __init__(self, name: str, records: Records):
        self.name, self.columns, self.rows, self.faults = name, *records
        lower = {column.lower(): column for column in reversed(self.columns)}
        self._places = {
            name: next((lower[alias] for alias in aliases if alias in lower), None) for name, aliases in ALIASES.items()
        }

    @property
    def missing(self) -> list[str]:
        """Columns without which nothing can be drawn."""
        return [name for name in ("file", "start", "end") if self._places[name] is None]

    @cached_property
    def scores(self) -> list[str]:
        """Names of the main head's scores."""
        return [column.removeprefix(SCORE) for column in self.columns if column.startswith(SCORE)]

    @cached_property
    def has_labels(self) -> bool:
        """Whether the main head tells labels, also where it was not sure of any; otherwise its scores are values."""
        said = [name for name in (self._places["label"], self._places["confidence"]) if name is not None]
        return any(row.get(name) not in (None, "") for _, row in self.rows for name in said)

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Names of values by their head: those of the main one, and of further heads, which have no labels."""
        found: dict[str, list[str]] = {} if self.has_labels or not self.scores else {"": self.scores}
        for column in self.columns:
            head, colon, name = column.partition(":")
            known = column.startswith((SCORE, GIVEN)) or head + LABEL in self.columns
            if colon and head and name and not known and all(_is_number(row.get(column)) for _, row in self.rows):
                found.setdefault(head, []).append(name)
        return found

    def said(self, row: Mapping[str, Any], values: Sequence[tuple[str, str]]) -> Said:
        """What a row says, with the values of these heads and names.

        Raises:
            ValueError: it cannot be drawn.
        """
        at = self._places
        file, speaker, label = (_text(row, at[name]) for name in ("file", "speaker", "label"))
        start, end, confidence, channel = (_number(row, at[name]) for name in ("start", "end", "confidence", "channel"))
        if not file or start is None or end is None:
            raise ValueError("file, start or end is empty, expected all three")
        check_span(start, end - start, None)
        if confidence is not None and not 0 <= confidence <= 1:
            raise ValueError(f"the confidence is {confidence:g}, expected 0 to 1")
        own = {
            (head, name): _number(row, f"{head}:{name}" if head else SCORE + name)
            for head, names in self.values.items()
            for name in names
        }
        found = [math.nan if (value := own.get(key)) is None else value for key in values]
        return Said(file, start, end, speaker, None if channel is None else int(channel), label, confidence, found)


def _joined(tables: Sequence[_Table]) -> Timelines:
    """Recordings of tables.

    Raises:
        ManifestError: one lacks a column, or there is no row that can be drawn.
    """
    for table in tables:
        if missing := table.missing:
            raise ManifestError(
                f"{table.name}: has no column {' and no column '.join(missing)}, expected a table that "
                f"`emotion2vec predict` wrote; found the columns {', '.join(table.columns)[:200] or 'none'}"
            )
    labels = dict.fromkeys(name for table in tables if table.has_labels for name in table.scores)
    values: dict[str, dict[str, None]] = {}
    for table in tables:
        for head, names in table.values.items():
            values.setdefault(head, {}).update(dict.fromkeys(names))
    keys = [(head, name) for head, names in values.items() for name in names]
    collected = Collected(list(labels), {head: list(names) for head, names in values.items()})
    faults, known = [fault for table in tables for fault in table.faults], dict[str, str]()
    for table in tables:
        for where, row in table.rows:
            try:
                said = table.said(row, keys)
            except (ValueError, OverflowError) as error:
                faults.append(Fault(where, reason_of(error)))
                continue
            if known.setdefault(said.file, table.name) == table.name:
                collected.place(said)
    if not known:
        reasons = "; ".join(str(fault) for fault in faults[:SHOWN]) or "it has no rows"
        raise ManifestError(f"{tables[0].name}: no row that can be drawn: {reasons}")
    return Timelines(collected.timelines(), faults)


def _text(row: Mapping[str, Any], column: str | None) -> str | None:
    """A cell as text; None where it is empty."""
    cell = None if column is None else row.get(column)
    return None if cell is None or not str(cell).strip() else str(cell)


def _number(row: Mapping[str, Any], column: str | None) -> float | None:
    """A cell as a number; None where it is empty.

    Raises:
        ValueError: it is none, or not finite.
    """
    if column is None or (text := _text(row, column)) is None:
        return None
    if found := DECIMAL_COMMA.fullmatch(text):
        text = f"{found[1]}.{found[2]}"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} is {text[:80]!r}, expected a number")
    return number


def _is_number(cell: Any) -> bool:
    """Whether a cell is a number, or empty."""
    try:
        _number({"": cell}, "")
    except ValueError:
        return False
    return True
