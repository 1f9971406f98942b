"""Tables of any kind that we write, and data frames -> their columns and rows; tables of strangers are bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emotion2vec.cells import unguarded
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.jsonlines import json_object
from emotion2vec.corpora.lists.lines import Lines, check_header, parse_records, read_lines
from emotion2vec.corpora.lists.records import Table
from emotion2vec.corpora.lists.rows import collect
from emotion2vec.corpora.lists.workbooks import read_workbook
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.writers.spreadsheets import EXTRAS, PACKAGES, SUFFIXES
from emotion2vec.parquet import read_columns

if TYPE_CHECKING:
    import pandas as pd


class Records(NamedTuple):
    """What a table holds.

    Attributes:
        columns: their names.
        rows: where each stands, and its cells by column; a number may be a text.
        faults: rows that cannot be read.
    """

    columns: list[str]
    rows: Sequence[tuple[str, Mapping[str, Any]]]
    faults: list[Fault]


def is_table(path: Path) -> bool:
    """Whether a file is of a kind that results are written in."""
    return path.suffix.lower() in SUFFIXES


def read_records(path: Path, wanted: Callable[[str], bool]) -> Records:
    """Read a table of any kind that `predict` writes.

    Args:
        path: the table.
        wanted: which columns are needed, by their names; the others may be missing in what is read.

    Raises:
        ManifestError: it cannot be read.
        ConfigError: a package is missing.
    """
    suffix = path.suffix.lower()
    if not is_table(path):
        raise ManifestError(f"{path}: expected a table of results, which ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ManifestError(f"{path}: no such file, expected a table that `emotion2vec predict` wrote")
    if (package := PACKAGES.get(suffix)) and find_spec(package) is None:
        raise ConfigError(f"{path} needs the package {package}: pip install 'emotion2vec[{EXTRAS[suffix]}]'")
    if suffix == ".xlsx":
        return _of_table(path, read_workbook(path))
    if suffix == ".parquet":
        try:
            return _of_parquet(path, wanted)
        except Exception as error:  # whatever a broken file makes a library raise
            raise ManifestError(f"{path}: cannot be read as {suffix}: {error}") from error
    lines, faults = read_lines(path, "surrogateescape")
    if suffix == ".jsonl":
        return _of_objects(path, lines)
    check_header(path, lines, faults)
    found = _of_table(path, parse_records(path, lines), unguarded)
    return found._replace(faults=[*faults, *found.faults])


def _of_table(path: Path, table: Table, shown: Callable[[str], str] = str) -> Records:
    """Columns and rows of a table of texts, as they are shown."""
    rows = [
        (f"{path}:{number}", {shown(name): shown(cell) for name, cell in cells.items()})
        for number, cells in table.records
    ]
    return Records([shown(name) for name in table.columns], rows, table.faults)


def _of_objects(path: Path, lines: Lines) -> Records:
    rows, faults = collect(path, lines, lambda number, line: (f"{path}:{number}", json_object(line)))
    return Records(list(dict.fromkeys(name for _, row in rows for name in row)), rows, faults)


def _of_parquet(path: Path, wanted: Callable[[str], bool]) -> Records:
    with path.open("rb") as stream:
        found = read_columns(stream, wanted)
    cells = zip(*found.values(), strict=True)
    rows = [(f"{path}, row {number}", dict(zip(found, row, strict=True))) for number, row in enumerate(cells, 1)]
    return Records(list(found), rows, [])


def read_frame(frame: pd.DataFrame) -> Records:
    """Read a data frame, of which the index counts as columns, and timedeltas as seconds."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise ManifestError(f"the results are a {type(frame).__name__}, expected a data frame, or a table's path")
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    found = {str(name): frame.index.get_level_values(name).to_series(index=range(len(frame))) for name in named}
    found |= {str(name): frame[name] for name in frame.columns}
    cells = {}
    for name, column in found.items():
        if pd.api.types.is_timedelta64_dtype(column):
            column = column.dt.total_seconds()
        cells[name] = [None if empty else cell for cell, empty in zip(column, column.isna(), strict=True)]
    rows = [
        (f"row {number}", dict(zip(cells, row, strict=True)))
        for number, row in enumerate(zip(*cells.values(), strict=True))
    ]
    return Records(list(cells), rows, [])
