"""Tables whose cells are told apart: columns, records, and rows that are neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotion2vec.corpora.faults import Fault
from emotion2vec.errors import ManifestError


@dataclass(frozen=True)
class Table:
    """What a table holds.

    Attributes:
        columns: names of the header, without spaces around them.
        records: number of each line, and its cells by column, as they are written; a row of empty cells is none.
        faults: rows that cannot be read. Records and faults together are all rows.
        commas: whether numbers may have decimal commas, as commas stand for nothing else.
    """

    columns: list[str]
    records: list[tuple[int, dict[str, str]]]
    faults: list[Fault]
    commas: bool = False


def table_of(source: Path, rows: Sequence[tuple[int, Sequence[str]]], *, commas: bool) -> Table:
    """A table whose cells are told apart already, the first row its header.

    Args:
        source: what it is read from.
        rows: number and cells of each row.
        commas: whether numbers may have decimal commas.

    Raises:
        ManifestError: the header names a column twice.
    """
    if not rows:
        return Table([], [], [])
    (first, header), *rest = rows
    table = Table(columns_of(source, first, header), [], [], commas)
    for number, fields in rest:
        add_row(table, source, number, fields)
    return table


def columns_of(source: Path, number: int, fields: Sequence[str]) -> list[str]:
    """Names of columns; ManifestError where one is there twice."""
    columns = [column.strip() for column in fields]
    lower = [column.lower() for column in columns if column]
    if twice := sorted({column for column in lower if lower.count(column) > 1}):
        raise ManifestError(f"{source}:{number}: the header names {', '.join(twice)} twice, expected each column once")
    return columns


def add_row(table: Table, source: Path, number: int, fields: Sequence[str], hint: str = "") -> None:
    """Add a row to a table, or its fault."""
    columns = table.columns
    if any(field.strip() for field in fields[len(columns) :]):
        reason = f"the row has {len(fields)} fields and the header {len(columns)}, expected a field for each column"
        table.faults.append(Fault(f"{source}:{number}", reason + hint))
    elif any(field.strip() for field in fields):
        table.records.append((number, dict(zip(columns, fields, strict=False))))
