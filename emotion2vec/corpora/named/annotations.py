"""Finding and reading the annotation files that corpora are published with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import audio_files
from emotion2vec.corpora.lists.lines import parse_records, read_lines
from emotion2vec.errors import ManifestError

WHOLE = r"\d+"
DECIMAL_OR_EMPTY = r"(-?\d+(\.\d*)?)?"


def annotation_files(root: Path, pattern: str, title: str) -> list[Path]:
    """Find a corpus's annotations anywhere below a folder, sorted.

    Raises:
        ManifestError: there are none, so that this is not the folder of the corpus called `title`.
    """
    found = sorted(path for path in root.rglob(pattern) if not path.name.startswith("."))
    if not found:
        count = len(audio_files(root, doubles=False))
        raise ManifestError(f"root {root}: found no {pattern} and {count} audio files, expected the folder of {title}")
    return found


def annotation_text(path: Path) -> str:
    """Read an annotation; bytes that are not UTF-8 are replaced.

    Raises:
        ManifestError: it cannot be opened.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be opened: {error.strerror}") from error


def annotation_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read an annotation that is a CSV; cells are stripped, and those that a row lacks are empty.

    Raises:
        ManifestError: it cannot be opened, has no rows or rows that cannot be read, or lacks one of the columns.
    """
    lines, _ = read_lines(path, errors="replace")
    table = parse_records(path, lines)
    if missing := [column for column in columns if column not in table.columns]:
        found = ", ".join(table.columns) or "none"
        raise ManifestError(f"{path}: columns are {found}, expected also {', '.join(missing)}")
    if table.faults:
        reasons = examples(str(fault) for fault in table.faults)
        raise ManifestError(f"{path}: {len(table.faults)} rows cannot be read: {reasons}")
    if not table.records:
        raise ManifestError(f"{path}: holds no rows below its header, expected one per clip")
    return [{column: cells.get(column, "").strip() for column in table.columns} for _, cells in table.records]


def check_numbers(path: Path, rows: Sequence[Mapping[str, str]], columns: Iterable[str], pattern: str) -> None:
    """Check the numbers of an annotation that is a CSV before they are converted.

    Raises:
        ManifestError: cells of these columns do not match the pattern, `WHOLE` or `DECIMAL_OR_EMPTY`; all at once.
    """
    faults = [
        f"{column} of row {number} is {row[column]!r}"
        for number, row in enumerate(rows, 1)
        for column in columns
        if not re.fullmatch(pattern, row[column])
    ]
    if faults:
        kind = "whole numbers" if pattern == WHOLE else "numbers"
        raise ManifestError(f"{path}: {len(faults)} cells hold something else than {kind}: {examples(faults)}")
