"""Rows into tables, one by one: CSV, TSV, Excel, Parquet, JSON lines."""

from __future__ import annotations

import csv
import json
import locale
import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Protocol

from emotion2vec.cells import guarded
from emotion2vec.disk import FULL
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.writers.base import escaped, printable

TEXT, PACKAGES = (".csv", ".tsv", ".jsonl"), {".xlsx": "openpyxl", ".parquet": "pyarrow"}
"""Suffixes of tables that are text, and those that need a package."""

SUFFIXES = (*TEXT, *PACKAGES)
"""Suffixes of all tables that can be written."""

EXTRAS = {".xlsx": "excel", ".parquet": "parquet"}
"""Names of the extras that bring the packages."""

GROUP_ROWS = 10_000
"""Rows of Parquet that are held until they are written together."""

SHEET_ROWS, CELL_CHARACTERS = 1_048_576, 32_767
"""What a sheet of Excel holds: rows, that of names included, and characters in a cell."""


PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,12})?", re.ASCII)
"""A text that is a number to everybody, and nothing else, as `007` is."""


class Table(Protocol):
    """A table that is being written; values are text, numbers, or None."""

    def add(self, cells: Sequence[Any]) -> None:
        """Write a row.

        Raises:
            ValueError: the format cannot hold a cell, which is named.
            ConfigError: nothing more can be written.
        """

    def close(self) -> None:
        """Write what is left."""


def suffix_faults(what: str, path: Path) -> list[str]:
    """What is wrong with the name of a table that is to be written."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        return [f"{what} is {path}, expected a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"]
    if suffix in PACKAGES and find_spec(PACKAGES[suffix]) is None:
        return [f"{what} {path} needs the package {PACKAGES[suffix]}: pip install 'emotion2vec[{EXTRAS[suffix]}]'"]
    if suffix in PACKAGES and path.exists() and not path.is_file():
        return [f"{what} {path} is no file, and {suffix} is written into files alone"]
    return []


def open_table(
    partial: Path, suffix: str, columns: Mapping[str, type], *, excel: bool = False, digits: str = ".6f"
) -> Table:
    """Open a table at a path, whatever that is called.

    Args:
        partial: the file, or a pipe.
        suffix: one of `SUFFIXES`, in lower case.
        columns: their names, and what the cells of each are: `float`, `int` or `str`.
        digits: how CSV and TSV write numbers.
        excel: CSV and TSV as Excel opens them by a double click: a byte order mark, and the separator and the decimal
            mark of the user's locale.
    """
    if suffix == ".xlsx":
        return ExcelTable(partial, list(columns))
    if suffix == ".parquet":
        return ParquetTable(partial, columns)
    stream = open(partial, "a", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115 (close)
    return text_table(stream, suffix, list(columns), excel=excel, digits=digits)


def text_table(
    stream: IO[str], suffix: str, names: Sequence[str], *, excel: bool = False, digits: str = ".6f"
) -> Table:
    """A table of one of the `TEXT` kinds on a stream, which is closed with it."""
    if suffix == ".jsonl":
        return JsonTable(stream, names)
    return DelimitedTable(stream, names, tabs=suffix == ".tsv", excel=excel, digits=digits)


class _Text:
    """A stream whose every row is out, or there is no place for it and for any other."""

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if error.errno in FULL:
                raise ConfigError(f"output: nothing more can be written: {error.strerror}") from error
            raise

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class JsonTable(_Text):
    """One object a line; every line has all columns."""

    def __init__(self, stream: IO[str], names: Sequence[str]):
        super().__init__(stream)
        self._names = names

    def add(self, cells: Sequence[Any]) -> None:
        """See `Table`."""
        self.write(json.dumps(dict(zip(self._names, cells, strict=True))) + "\n")


class DelimitedTable(_Text):
    """CSV or TSV; cells are no formulas, see `emotion2vec.cells`, and TSV has no quotes."""

    def __init__(self, stream: IO[str], names: Sequence[str], *, tabs: bool, excel: bool, digits: str):
        super().__init__(stream)
        self._names, self._tabs, self._digits = names, tabs, digits
        self._comma = excel and decimal_mark() == ","
        if tabs:
            self._writer: Any = csv.writer(self, "excel-tab", quoting=csv.QUOTE_NONE, quotechar=None)
        else:
            self._writer = csv.writer(self, delimiter=";" if self._comma else ",")
        if excel:
            self.write("\ufeff")
        self.add(names)

    def add(self, cells: Sequence[Any]) -> None:
        """See `Table`."""
        self._writer.writerow([self._cell(name, cell) for name, cell in zip(self._names, cells, strict=True)])

    def _cell(self, name: str, cell: Any) -> Any:
        if isinstance(cell, float):
            text = format(cell, self._digits) if cell == cell else ""
            text = text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
            return text.replace(".", ",") if self._comma else text
        if self._tabs and isinstance(cell, str) and any(mark in cell for mark in "\t\r\n"):
            raise ValueError(f"{name} is {cell[:80]!r}, which a .tsv cannot hold: expected no tab and no end of line")
        return guarded(cell)


def decimal_mark() -> str:
    """The decimal mark of the user's locale, `.` where it is not known."""
    for name in (os.environ.get(key) for key in ("LC_ALL", "LC_NUMERIC", "LANG")):
        if name:
            language = (locale.normalize(name).partition(".")[0]).partition("_")[0]
            return "," if DECIMAL_COMMA.fullmatch(language) else "."
    return "."


DECIMAL_COMMA = re.compile(
    "af|az|be|bg|bs|ca|cs|da|de|el|es|et|eu|fi|fo|fr|gl|hr|hu|hy|id|is|it|ka|kk|kl|ky|lb|lt|lv|mk|nb|nl|nn|no|pl|pt|ro|"
    "ru|sk|sl|sq|sr|sv|tr|uk|uz|vi"
)
"""Languages whose numbers have a decimal comma (Unicode CLDR); some countries that speak them have a point."""


class ExcelTable:
    """One sheet of an .xlsx, whose rows wait in a temporary file; texts are never formulas."""

    def __init__(self, partial: Path, names: Sequence[str]):
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell

        self._partial, self._cell_of = partial, WriteOnlyCell
        self._book: Any = Workbook(write_only=True)
        self._sheet: Any = self._book.create_sheet("emotion2vec")
        self._sheet.freeze_panes = "A2"
        self._rows = 0
        self.add(names)

    def add(self, cells: Sequence[Any]) -> None:
        """See `Table`."""
        if self._rows >= SHEET_ROWS:
            raise ValueError(f"an .xlsx holds {SHEET_ROWS:,} rows and is full, expected .csv or .parquet for more")
        self._sheet.append([self._cell(cell) for cell in cells])
        self._rows += 1

    def _cell(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell if cell == cell else None
        if PLAIN_NUMBER.fullmatch(cell):  # of the input's columns
            return float(cell) if "." in cell else int(cell)
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        text = ILLEGAL_CHARACTERS_RE.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped(cell))
        made = self._cell_of(self._sheet, text[:CELL_CHARACTERS])
        made.data_type = "s"
        return made

    def close(self) -> None:
        """See `Table`."""
        with open(self._partial, "wb") as stream:
            self._book.save(stream)


class ParquetTable:
    """Parquet with a type for each column; some thousand rows are held."""

    def __init__(self, partial: Path, columns: Mapping[str, type]):
        import pyarrow as pa
        import pyarrow.parquet

        types = {float: pa.float64(), int: pa.int64(), str: pa.string()}
        self._schema = pa.schema([(escaped(name), types[kind]) for name, kind in columns.items()])
        self._kinds = list(columns.values())
        self._rows: list[list[Any]] = [[] for _ in columns]
        self._stream = open(partial, "wb")  # noqa: SIM115 (closed by close)
        self._writer = pyarrow.parquet.ParquetWriter(self._stream, self._schema, compression="zstd")

    def add(self, cells: Sequence[Any]) -> None:
        """See `Table`."""
        for column, kind, cell in zip(self._rows, self._kinds, cells, strict=True):
            column.append(cell if cell is None or kind is not str else printable(str(cell)))
        if len(self._rows[0]) >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """See `Table`."""
        with self._stream:
            self._flush()
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        arrays = [pa.array(column, entry.type) for column, entry in zip(self._rows, self._schema, strict=True)]
        if len(arrays[0]):
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = [[] for _ in self._rows]
