"""A user's own labelled clips: a CSV or TSV with `file`, `label` or `emotion`, and what else is known."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

from emotion2vec.decode import AUDIO_SUFFIXES
from emotion2vec.errors import ManifestError
from emotion2vec.probe.corpora import SHOWN, Clip, ClipSet, audio_files

LABEL_COLUMNS = ("label", "emotion")
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
) -> ClipSet:
    """Read a table of labelled clips.

    Args:
        path: CSV (comma or semicolon) or TSV with a header line: `file`, `label` or `emotion`, and optionally
            `speaker`, `gender`, `session`, `fold`, `split`, `text` (what is said, in words), `sentence` (its number or
            code, where only that is known), `intensity`, `corpus`, `language`, `dialogue` and `turn`; an empty cell
            means unknown, other columns are ignored.
        root: folder that relative paths start from; by default the table's own. A file that is not there is looked
            for under the same path with another audio ending.
        targets: columns of numbers that are to be predicted; labels may be absent then.
        conversations: `dialogue` and `turn`, a whole number, are needed; a label may be unknown.

    Returns:
        The clips in the table's order; files that are nowhere are named in `left_out`.

    Raises:
        ManifestError: the table cannot be read, lacks a column, has rows without file or label, with something else
            than a number where one is expected, or with the same file twice (all faulty lines at once), or names no
            file that exists.
    """
    path = Path(path)
    root = path.parent if root is None else Path(root)
    rows, label_column = _read_rows(path, [*targets, *(["dialogue", "turn"] if conversations else [])], bool(targets))
    clips: list[Clip] = []
    left_out: dict[str, str] = {}
    faults: list[str] = []
    lines: dict[str, int] = {}
    for line, row in rows:
        file, label = (row.get(column) or "" for column in ("file", label_column))
        missing = [] if file else ["file is empty"]
        if not label and not targets and not conversations:
            missing.append(f"{label_column} is empty")
        if file in lines:
            missing.append(f"{file} is already on line {lines[file]}")
        values, turn, wrong = _numbers(row, targets, conversations)
        if missing or wrong:
            faults.append(f"line {line}: " + ", ".join(missing[:1] + wrong))
            continue
        lines[file] = line
        audio = _locate(root / file)
        if audio is None:
            left_out[file] = f"no such file below {root}"
            continue
        facts = {column: row.get(column) or None for column in OPTIONAL_COLUMNS}
        clips.append(Clip(file=Path(file).as_posix(), path=audio, label=label, values=values, turn=turn, **facts))
    if faults:
        rest = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise ManifestError(f"{path}: {len(faults)} faulty lines: " + "; ".join(faults[:SHOWN] + rest))
    if not clips:
        first = next(iter(left_out), None)
        found = f"none of its {len(left_out)} files exists, such as {root / first}" if first else "it has no rows"
        raise ManifestError(f"{path}: {found}; expected paths relative to {root}")
    return ClipSet(name=path.stem, root=root, clips=tuple(clips), left_out=left_out)


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


def read_class_folders(root: str | Path) -> ClipSet:
    """Read a folder that has one folder per class; speakers are unknown, so only folds `random` are possible.

    Raises:
        ManifestError: it has fewer than two folders with audio.
    """
    root = Path(root)
    if not root.is_dir():
        raise ManifestError(f"root {root}: no such folder, expected one that has a folder per class")
    files = {
        folder.name: audio_files(folder)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }
    clips = tuple(
        Clip(file=path.relative_to(root).as_posix(), path=path, label=label)
        for label, paths in files.items()
        for path in paths
    )
    if len({clip.label for clip in clips}) < 2:
        found = ", ".join(f"{label} ({len(paths)} audio files)" for label, paths in files.items()) or "no folder"
        raise ManifestError(f"root {root}: found {found}; expected at least two folders with audio, one per class")
    return ClipSet(name=root.resolve().name, root=root, clips=clips)


def _read_rows(path: Path, needed: Sequence[str], unlabelled: bool) -> tuple[list[tuple[int, dict[str, str]]], str]:
    """Read the rows with their line numbers, cells stripped, and find the label's column.

    Columns that are `needed` must be there; the label's need not where the table may be `unlabelled`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            stream.seek(0)
            delimiter = max("\t,;", key=header.count)
            reader = csv.DictReader(stream, delimiter=delimiter)
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = [
                (reader.line_num, {key: value.strip() for key, value in row.items() if isinstance(value, str)})
                for row in reader
            ]
    except OSError as error:
        raise ManifestError(f"table {path}: cannot be opened: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"table {path}: cannot be read as CSV or TSV: {error}") from error
    label_column = next((column for column in LABEL_COLUMNS if column in names), None)
    if "file" not in names or (label_column is None and not unlabelled) or {n.lower() for n in needed} - set(names):
        wanted = ["`file`", *(f"`{name}`" for name in needed), *([] if unlabelled else ["`label` or `emotion`"])]
        raise ManifestError(
            f"table {path}: columns are {', '.join(names) or 'none'}; expected {' and '.join(wanted)}, and "
            f"optionally {', '.join(OPTIONAL_COLUMNS)}"
        )
    return rows, label_column or LABEL_COLUMNS[0]


def _locate(path: Path) -> Path | None:
    """Find a file, or the same stem with another audio ending."""
    if path.is_file():
        return path
    return next((other for suffix in sorted(AUDIO_SUFFIXES) if (other := path.with_suffix(suffix)).is_file()), None)
