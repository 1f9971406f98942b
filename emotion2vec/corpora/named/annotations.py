"""Corpora whose labels stand in annotation files: what their readers share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import audio_files, found_below
from emotion2vec.corpora.lists.lines import parse_records, read_lines
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.documents import MOST_ANNOTATIONS, read_bytes
from emotion2vec.errors import ManifestError
from emotion2vec.units import counted

Row = TypeVar("Row")

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
        ManifestError: it cannot be opened, or is larger than `MOST_ANNOTATIONS`.
    """
    try:
        return read_bytes(path, MOST_ANNOTATIONS).decode("utf-8", errors="replace")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from error


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
        raise ManifestError(f"{path}: {counted(len(table.faults), 'row')} cannot be read: {reasons}")
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


AnnotatedRow = tuple[str, Path | str, Mapping[str, Any]]
"""An utterance's name in the annotation, its audio or why there is none, and what else is known of it."""


class KnownClasses:
    """The classes of a corpus, and how often others were met, which are left out and told."""

    def __init__(self, title: str, meanings: Mapping[str, str], kind: str = "classes"):
        self._title = title
        self._meanings = meanings
        self._kind = kind
        self._others: Counter[str] = Counter()

    def of(self, code: Any) -> str | None:
        """The class of a code, whatever its case, or None."""
        found = self._meanings.get(str(code).lower())
        if found is None:
            self._others[str(code) or "none"] += 1
        return found

    def warnings(self) -> list[str]:
        """What was left out, if anything was."""
        if not self._others:
            return []
        counts = examples([f"{code} ({count})" for code, count in self._others.most_common()])
        count = counted(self._others.total(), f"clip of {self._title} is", f"clips of {self._title} are")
        return [f"{count} of other {self._kind}, and left out: {counts}"]


def annotated_corpus(
    name: str,
    title: str,
    root: Path,
    rows: Sequence[AnnotatedRow],
    *,
    what: str = "clips",
    expected: int | None = None,
    warnings: Iterable[str] = (),
) -> Corpus:
    """The utterances of rows whose audio exists; the others are named as left out.

    Args:
        name: of the corpus, as `--dataset` takes it.
        title: its name in messages.
        root: its folder.
        rows: what its annotation lists.
        what: `clips` where all have a class, or `utterances`.
        expected: rows of the complete corpus; another number is a warning.
        warnings: what else was odd.

    Raises:
        ManifestError: there is audio of none of them.
    """
    found = tuple(found_below(root, path, **facts) for _, path, facts in rows if isinstance(path, Path))
    absent = {key: path for key, path, _ in rows if isinstance(path, str)}
    if not found:
        listed = f"{counted(len(rows), 'clip')} with a label" if what == "clips" else f"{len(rows)} {what}"
        raise ManifestError(
            f"root {root}: {title} lists {listed}, and audio of none was found, such as {examples(absent)}"
        )
    odd = list(warnings)
    if expected is not None and len(rows) != expected:
        odd.append(f"{root} lists {len(rows)} {what} of {title}, expected {expected}")
    return Corpus(name=name, root=root, utterances=found, left_out=absent, warnings=tuple(odd))


def numbered_turns(rows: Sequence[Row], speaker: Callable[[Row], str]) -> Iterable[tuple[int, Row]]:
    """Number the turns of a dialogue, whose rows are in order: utterances of one speaker in a row are one turn."""
    for turn, (_, group) in enumerate(groupby(rows, key=speaker)):
        yield from ((turn, row) for row in group)
