"""A user's own labelled clips: a CSV or TSV with `file`, `label` or `emotion`, and what else is known."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from emotion2vec.corpora.faults import SHOWN, Change, Fault
from emotion2vec.corpora.lists.folders import audio_files
from emotion2vec.corpora.lists.lines import parse_records, read_lines
from emotion2vec.corpora.lists.locate import Located, Locator
from emotion2vec.corpora.lists.naming import tell_apart
from emotion2vec.corpora.names import path_id
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ManifestError

LABEL_COLUMNS = ("label", "emotion")
SEGMENT_COLUMNS = ("start", "offset", "start_time", "end", "end_time", "channel")
"""Columns that cut a recording in lists of other verbs; a probe hears whole files, and must not pass them over."""
OPTIONAL_COLUMNS = (
    "speaker",
    "gender",
    "session",
    "fold",
    "split",
    "text",
    "sentence",
    "intensity",
    "corpus",
    "language",
    "dialogue",
)


def read_table(
    path: str | Path, root: str | Path | None = None, *, targets: Sequence[str] = (), conversations: bool = False
) -> Corpus:
    """Read a table of labelled clips.

    Args:
        path: CSV (comma or semicolon) or TSV with a header line: `file`, `label` or `emotion`, and optionally
            `speaker`, `gender`, `session`, `fold`, `split`, `text` (what is said, in words), `sentence` (its number or
            code, where only that is known), `intensity`, `corpus`, `language`, `dialogue` and `turn`; an empty cell
            means unknown, other columns are ignored.
        root: folder that relative paths start from; by default the table's own. A file that is not there is looked
            for as `emotion2vec.corpora.lists.locate` says, such as with another audio ending.
        targets: columns of numbers that are to be predicted; labels may be absent then.
        conversations: `dialogue` and `turn`, a whole number, are needed; a label may be unknown.

    Returns:
        The clips in the table's order; files that are nowhere and rows that cannot be read are named in `left_out`.

    Raises:
        ManifestError: the table cannot be read, lacks a column, has rows without file or label, with something else
            than a number where one is expected, or with the same file twice (all faulty lines at once), or names no
            file that exists.
    """
    path = Path(path)
    root = Path(os.path.abspath(path.parent if root is None else root))
    rows = _read_rows(path, [*targets, *(["dialogue", "turn"] if conversations else [])], bool(targets))
    read = _Rows(targets, conversations, rows.label_column)
    entries = [entry for line, row in rows.records if (entry := read.entry(line, row)) is not None]
    if read.faults:
        rest = [f"and {len(read.faults) - SHOWN} more"] if len(read.faults) > SHOWN else []
        raise ManifestError(f"{path}: {len(read.faults)} faulty lines: " + "; ".join(read.faults[:SHOWN] + rest))
    locator = Locator(root, lambda: audio_files(root))
    found = {file: locator.find(file) for file, _ in entries}
    uses = Counter(place.path for place in found.values() if isinstance(place, Located))
    left_out = {fault.where: fault.reason for fault in rows.faults}
    utterances: list[Utterance] = []
    changes: list[Change] = []
    for file, facts in entries:
        place = found[file]
        if isinstance(place, str):
            left_out[file] = f"no such file: {place}"
        elif place.how is not None and uses[place.path] > 1:
            left_out[file] = f"does not exist, and {place.path} of the same stem is named by another line too"
        else:
            listed, name = PurePosixPath(place.listed).as_posix(), path_id(root / place.listed, root)
            utterances.append(Utterance(id=name, audio=place.path, file=listed, **facts))
            if place.how is not None:
                changes.append(Change(file, place.how, f"is {place.path}"))
    if not utterances:
        missing = [f"none of its {len(found)} files exists, such as {root / next(iter(found))}"] if found else []
        reasons = [*missing, *map(str, rows.faults[:SHOWN])] or ["it has no rows"]
        raise ManifestError(f"{path}: {'; '.join(reasons)}; expected paths relative to {root}")
    return Corpus(
        name=path.stem,
        root=root,
        utterances=tuple(tell_apart(utterances)),
        left_out=left_out,
        changes=tuple(changes),
    )


class _Rows:
    """Turns rows into files and fields of `Utterance`, and gathers what is wrong with them in `faults`."""

    def __init__(self, targets: Sequence[str], conversations: bool, label_column: str):
        self.faults: list[str] = []
        self._targets, self._conversations, self._label_column = targets, conversations, label_column
        self._lines: dict[str, int] = {}

    def entry(self, line: int, row: dict[str, str]) -> tuple[str, dict[str, Any]] | None:
        """The file of a row and its fields, or None for a faulty one."""
        file, label = row.get("file") or "", (row.get(self._label_column) or "").strip()
        missing = [] if file.strip() else ["file is empty"]
        if not label and not self._targets and not self._conversations:
            missing.append(f"{self._label_column} is empty")
        if file in self._lines:
            missing.append(f"{file} is already on line {self._lines[file]}")
        cells = {column: cell.strip() for column, cell in row.items()}
        values, turn, wrong = _numbers(cells, self._targets, self._conversations)
        cuts = [column for column in SEGMENT_COLUMNS if cells.get(column)]
        wrong += [f"{column} is {cells[column]!r}, but whole files are probed: cut the audio first" for column in cuts]
        if missing or wrong:
            self.faults.append(f"line {line}: " + ", ".join(missing[:1] + wrong))
            return None
        self._lines[file] = line
        facts: dict[str, Any] = {column: cells.get(column) or None for column in OPTIONAL_COLUMNS}
        return file, {**facts, "label": label or None, "values": values, "turn": turn}


def _numbers(
    row: dict[str, str], targets: Sequence[str], conversations: bool
) -> tuple[dict[str, float], int | None, list[str]]:
    """The row's values, its turn, and what is wrong with them."""
    values: dict[str, float] = {}
    faults = []
    for name in targets:
        if text := row.get(name.lower()):
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = math.nan
            if not math.isfinite(values[name]):
                faults.append(f"{name} is {text!r}, expected a number")
    if not conversations:
        return values, None, faults
    turn = row.get("turn") or ""
    if not row.get("dialogue"):
        faults.append("dialogue is empty")
    if not re.fullmatch(r"-?\d+", turn):
        faults.append(f"turn is {turn!r}, expected a whole number")
        turn = "0"
    return values, int(turn), faults


@dataclass(frozen=True)
class _Table:
    records: list[tuple[int, dict[str, str]]]
    faults: list[Fault]
    label_column: str


def _read_rows(path: Path, needed: Sequence[str], unlabelled: bool) -> _Table:
    """Read the rows with their line numbers, cells by column in lower case, and find the label's column.

    Columns that are `needed` must be there; the label's need not where the table may be `unlabelled`.
    """
    if not path.is_file():
        raise ManifestError(f"table {path}: cannot be opened: no such file")
    lines, unreadable = read_lines(path)
    table = parse_records(path, lines)
    names = [name.lower() for name in table.columns]
    label_column = next((column for column in LABEL_COLUMNS if column in names), None)
    if "file" not in names or (label_column is None and not unlabelled) or {n.lower() for n in needed} - set(names):
        wanted = ["`file`", *(f"`{name}`" for name in needed), *([] if unlabelled else ["`label` or `emotion`"])]
        raise ManifestError(
            f"table {path}: columns are {', '.join(names) or 'none'}; expected {' and '.join(wanted)}, and "
            f"optionally {', '.join(OPTIONAL_COLUMNS)}"
        )
    records = [(line, {name.lower(): cell for name, cell in cells.items()}) for line, cells in table.records]
    return _Table(records, [*unreadable, *table.faults], label_column or LABEL_COLUMNS[0])
