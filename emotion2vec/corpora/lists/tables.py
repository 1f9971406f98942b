"""Tables: a CSV, TSV or XLSX with a column `file`, and what is known of each of its files.

Any list of audio may be one (`parse_table`); labelled clips are read more strictly (`read_table`).
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emotion2vec.corpora.faults import SHOWN, Change, examples
from emotion2vec.corpora.lists.columns import Names, hint
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.lists.records import Table
from emotion2vec.corpora.lists.rows import (
    LABEL_FIELDS,
    OTHER_FACTS,
    Found,
    Parsed,
    Row,
    channel_of,
    collect,
    facts_of,
    find_audio,
    pointed,
    span_of,
)
from emotion2vec.corpora.lists.workbooks import read_records
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ManifestError
from emotion2vec.units import counted


@dataclass(frozen=True, kw_only=True)
class Extra:
    """Further columns of a labelled table.

    Attributes:
        numbers: columns of numbers, which become `values`; an empty cell has none.
        raters: columns of labels, one for each rater, which become `votes`; an empty cell is no vote.
        labels: columns that may be absent, which become `labels`; an empty cell is none.
        values: columns of numbers that may be absent, which become `values`; an empty cell has none.
        unlabelled: whether clips may lack a label, or all of them.
        several: whether a file may have several rows, each a rater's, whose labels are the votes.
    """

    numbers: Sequence[str] = ()
    raters: Sequence[str] = ()
    labels: Sequence[str] = ()
    values: Sequence[str] = ()
    unlabelled: bool = False
    several: bool = False


def parse_table(source: Path, found: Table, names: Names | None = None) -> Parsed:
    """Read the rows of a table whose header names at least the column `file`.

    Optional columns: `label`, `emotion` or `emo`; `speaker` or `spk`; `start` and `end` in seconds; `channel`; and
    `OTHER_FACTS`.

    Raises:
        ManifestError: there is no `file` column, or one of two headers.
    """
    names = names or Names()
    table = names.table(source, found)
    if "file" not in table.columns:
        raise ManifestError(
            f"{source}: expected a header with a column 'file', found the columns {found.columns}"
            f"{hint(['file'], found)}"
        )
    rows, faults = collect(source, table.records, _row)
    if (rest := names.rest(found.columns)) is not None:
        cells = dict(found.records)
        rows = [replace(row, facts={**row.facts, "row": rest(cells[row.line])}) for row in rows]
    return rows, [*table.faults, *faults]


def _row(number: int, record: Mapping[str, str]) -> Row:
    path = record.get("file", "")
    if not path.strip():
        raise ValueError("the column 'file' is empty, expected a path")
    start, duration = span_of(record)
    channel = channel_of(record)
    return Row(line=number, path=path, start=start, duration=duration, channel=channel, facts=facts_of(record))


def read_table(
    path: str | Path,
    root: str | Path | None = None,
    *,
    targets: Sequence[str] = (),
    conversations: bool = False,
    extra: Extra | None = None,
    names: Names | None = None,
) -> Corpus:
    """Read a table of labelled clips.

    Args:
        path: CSV (comma or semicolon), TSV or XLSX with a header line: `file`, `label` or `emotion`, and optionally
            `speaker`, `gender`, `session`, `fold`, `split`, `text` (what is said, in words), `sentence` (its number or
            code, where only that is known), `intensity`, `corpus`, `language`, `dialogue` and `turn`, and, of segments
            of a file, `start` and `end` in s and `channel`; an empty cell means unknown, other columns are ignored.
        root: folder that relative paths start from; by default the table's own. A file that is not there is looked
            for as `emotion2vec.corpora.lists.locate` says, such as with another audio ending.
        targets: columns of numbers that are to be predicted; labels may be absent then.
        conversations: `dialogue` and `turn`, a whole number, are needed; a label may be unknown.
        extra: further columns to read.
        names: what the table calls columns and labels.

    Returns:
        The clips in the table's order; files that are nowhere and rows that cannot be read are named in `left_out`.

    Raises:
        ManifestError: the table cannot be read, lacks a column, has rows without file or label, with something else
            than a number where one is expected, or with the same stretch twice (all faulty lines at once), or names no
            file that exists.
    """
    path = Path(path)
    root = Path(os.path.abspath(path.parent if root is None else root))
    if not path.is_file():
        what = "it is a folder, expected a CSV, TSV or XLSX" if path.is_dir() else "no such file"
        raise ManifestError(f"table {path}: cannot be opened: {what}")
    found, unreadable = read_records(path)
    table = (names or Names()).table(path, found)
    strict = _LabelledRows(path, found, table.columns, targets, conversations, extra or Extra())
    rows = strict.read(table.records)
    there = find_audio(rows, root)
    left_out = {fault.where: fault.reason for fault in [*unreadable, *table.faults]}
    if not there.utterances:
        missing = [f"no file of its {counted(len(rows), 'row')} exists, such as {root / rows[0].path}"] if rows else []
        reasons = [*missing, *(f"{where}: {why}" for where, why in list(left_out.items())[:SHOWN])] or [
            "it has no rows"
        ]
        raise ManifestError(f"{path}: {'; '.join(reasons)}; expected paths relative to {root}")
    return _corpus(path, root, there, left_out)


def _corpus(path: Path, root: Path, found: Found, left_out: Mapping[str, str]) -> Corpus:
    """The corpus of a table's rows."""
    utterances, repeated = unique_ids([(row.stretch, utterance) for row, utterance in found.utterances], keyed=set())
    absent = {row.stretch: f"no such file: {reason}" for row, reason in found.missing}
    return Corpus(
        name=path.stem,
        root=root,
        utterances=tuple(utterances),
        left_out={**left_out, **absent, **{fault.where: fault.reason for fault in repeated}},
        changes=tuple(Change(row.path, how, f"is {file}") for row, how, file in found.changes),
        warnings=_lost(found),
    )


def _lost(found: Found) -> tuple[str, ...]:
    """What is to be said of labels of which no file exists."""
    counts = Counter(row.facts["label"] for row, _ in found.missing if row.facts.get("label"))
    there = {utterance.label for _, utterance in found.utterances}
    lost = [f"{label} ({counted(count, 'clip')})" for label, count in sorted(counts.items()) if label not in there]
    return (f"no file of {examples(lost)} exists, so that there is no such class",) if lost else ()


class _LabelledRows:
    """Reads rows that must all be sound.

    Raises:
        ManifestError: the header lacks a column.
    """

    def __init__(
        self,
        path: Path,
        table: Table,
        columns: Sequence[str],
        targets: Sequence[str],
        conversations: bool,
        extra: Extra,
    ) -> None:
        needed = [*targets, *extra.numbers, *extra.raters, *(["dialogue", "turn"] if conversations else [])]
        label = next((column for column in LABEL_FIELDS if column in columns), None)
        free = bool(targets) or extra.unlabelled
        if "file" not in columns or (label is None and not free) or {name.lower() for name in needed} - set(columns):
            wanted = ["`file`", *(f"`{name}`" for name in needed), *([] if free else ["`label` or `emotion`"])]
            lacking = [*["file"] * ("file" not in columns), *["emotion"] * (label is None and not free)]
            raise ManifestError(
                f"table {path}: columns are {', '.join(table.columns) or 'none'}; expected {' and '.join(wanted)}, and "
                f"optionally speaker, {', '.join(OTHER_FACTS)}{hint(lacking, table)}"
            )
        self._path, self._targets, self._conversations, self._extra = path, targets, conversations, extra
        self._label = None if free or conversations else label
        self._lines: dict[tuple[Any, ...], int] = {}

    def read(self, records: Sequence[tuple[int, dict[str, str]]]) -> list[Row]:
        """The rows.

        Raises:
            ManifestError: lines are faulty; all of them at once.
        """
        rows, faults = [], []
        for line, record in records:
            try:
                rows.append(self._row(line, record))
            except ValueError as error:
                faults.append(f"line {line}: {error}")
        if faults:
            rest = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
            count = counted(len(faults), "faulty line")
            raise ManifestError(f"{self._path}: {count}: " + "; ".join(faults[:SHOWN] + rest))
        return _by_file(rows) if self._extra.several else rows

    def _row(self, line: int, record: dict[str, str]) -> Row:
        """One row; ValueError says all that is wrong with it."""
        faults = [] if record.get("file", "").strip() else ["file is empty"]
        if self._label is not None and not record.get(self._label, "").strip():
            faults.append(f"{self._label} is empty")
        values, turn, wrong = _numbers(
            record, [*self._targets, *self._extra.numbers, *self._extra.values], self._conversations
        )
        faults += wrong
        if faults:
            raise ValueError(", ".join(faults))
        row = _row(line, record)
        first = self._lines.setdefault((row.path, row.start, row.duration, row.channel), line)
        if first != line and not self._extra.several:
            raise ValueError(f"{row.stretch} is already on line {first}")
        votes = tuple(vote for name in self._extra.raters if (vote := record.get(name.lower(), "").strip()))
        if self._extra.several:
            votes = (record.get(self._label or "", "").strip(),)
        labels = {name: label for name in self._extra.labels if (label := record.get(name.lower(), "").strip())}
        return replace(row, facts={**row.facts, "values": values, "labels": labels, "turn": turn, "votes": votes})


def _by_file(rows: Sequence[Row]) -> list[Row]:
    """One row for each stretch, the first, with the votes of all of its rows; its label is the most frequent one."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        what = row.path, row.start, row.duration, row.channel
        first = found.setdefault(what, row)
        if first is not row:
            votes = (*first.facts["votes"], *row.facts["votes"])
            label = Counter(votes).most_common(1)[0][0]
            found[what] = replace(first, facts={**first.facts, "votes": votes, "label": label})
    return list(found.values())


def _numbers(
    record: Mapping[str, str], targets: Sequence[str], conversations: bool
) -> tuple[dict[str, float], int | None, list[str]]:
    """The row's values, its turn, and what is wrong with them."""
    values: dict[str, float] = {}
    faults = []
    for name in targets:
        if text := record.get(name.lower(), "").strip():
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = math.nan
            if not math.isfinite(values[name]):
                faults.append(f"{name} is {text!r}, expected a number{pointed(text)}")
    if not conversations:
        return values, None, faults
    turn = record.get("turn", "").strip()
    if not record.get("dialogue", "").strip():
        faults.append("dialogue is empty")
    if not re.fullmatch(r"-?\d+", turn):
        faults.append(f"turn is {turn!r}, expected a whole number")
        turn = "0"
    return values, int(turn), faults
