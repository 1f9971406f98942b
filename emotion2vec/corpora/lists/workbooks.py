"""Tables in `.xlsx` files: the first sheet with cells, each cell as the text that a CSV of it would have."""

from __future__ import annotations

import datetime
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.lines import check_header, parse_records, read_lines
from emotion2vec.corpora.lists.records import Table, table_of
from emotion2vec.documents import check_unpacked
from emotion2vec.errors import ManifestError

SUFFIXES = (".xlsx", ".xlsm")

MOST_ROWS = 1 << 20
"""What a sheet of Excel can hold."""

LEAST_TAGS, TAGS_PER_BYTE = 1_000_000, 2
"""Tags that sheets and their texts may have, or for each byte of the file: a cell has four, and the shortest take 300
bytes each in memory."""

MOST_OTHER_TAGS = 200_000
"""Tags that all other parts may have, such as styles, which take more."""

MOST_PLACES = 20_000_000
"""Places of cells in rows up to their last ones, empty ones too: one cell far to the right makes thousands."""

LARGE, UNREAD = ("xl/worksheets/", "xl/sharedStrings.xml"), "xl/media/"
"""Parts with cells and their texts, and those that are not read."""


def is_workbook(source: Path) -> bool:
    """Whether a list is called like a workbook."""
    return source.suffix.lower() in SUFFIXES


def read_workbook(source: Path) -> Table:
    """Read the table of a workbook; what stands for nothing else is as in `parse_records`.

    Numbers are written with a point and 15 digits, dates as 2026-01-31, times as 13:30:00, truth as TRUE and FALSE; of
    formulas the result is taken that was saved with them. Sheets that are hidden or empty are passed over.

    Raises:
        ManifestError: it cannot be read, unpacks to far more than honest workbooks do, or its header is broken.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise ManifestError(f"{source}: .xlsx needs openpyxl: pip install 'emotion2vec[excel]'") from error
    try:
        _check_size(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles that are missing, and the like
            book = openpyxl.load_workbook(source, read_only=True, data_only=True, keep_links=False)
        try:
            sheets = (list(_rows(sheet)) for sheet in book.worksheets if sheet.sheet_state == "visible")
            rows = next(filter(None, sheets), [])
        finally:
            book.close()
    except Exception as error:  # openpyxl raises whatever a broken file leads it to
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, zipfile.BadZipFile):
            reason = "it is no XLSX workbook, or is damaged or has a password"
        raise ManifestError(f"{source}: cannot be read: {reason}") from error
    return table_of(source, rows, commas=True)


def read_records(source: Path) -> tuple[Table, list[Fault]]:
    """Read a table of any kind: the text of `parse_records`, or a workbook.

    Returns:
        The table, and a fault for each line that is no text.

    Raises:
        ManifestError: it cannot be read, or its header is broken.
    """
    if is_workbook(source):
        return read_workbook(source), []
    lines, unreadable = read_lines(source)
    check_header(source, lines, unreadable)
    return parse_records(source, lines), unreadable


def _check_size(source: Path) -> None:
    """See to it that a workbook takes no more when it is read than honest ones do.

    Raises:
        ValueError: it does.
    """
    size, large, other = source.stat().st_size, 0, 0
    with zipfile.ZipFile(source) as archive:
        parts = archive.infolist()
        check_unpacked(sum(part.file_size for part in parts), size)
        for part in parts:
            if part.filename.startswith(UNREAD):
                continue
            with archive.open(part) as stream:
                tags = sum(piece.count(b"<") for piece in iter(lambda: stream.read(1 << 20), b""))
            is_large = part.filename.startswith(LARGE)
            large, other = large + tags * is_large, other + tags * (not is_large)
    for what, tags, most in (
        ("sheets", large, max(LEAST_TAGS, TAGS_PER_BYTE * size)),
        ("parts beside its sheets", other, MOST_OTHER_TAGS),
    ):
        if tags > most:
            raise ValueError(f"its {what} hold {tags:,} tags, expected at most {most:,} in {size:,} bytes")


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Numbers and cells of the rows of a sheet that are not empty."""
    sheet.reset_dimensions()  # what a sheet says of its size may be anything
    places = 0
    for number, values in enumerate(sheet.iter_rows(max_row=MOST_ROWS, values_only=True), start=1):
        places += len(values)
        if places > MOST_PLACES:
            raise ValueError(f"its rows have more than {MOST_PLACES:,} places up to their last cells")
        cells = [_text(value) for value in values]
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            yield number, cells


def _text(value: Any) -> str:
    """A cell's value as the text of a CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return format(value, ".15g")
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if isinstance(value, datetime.datetime):
        is_day = value.time() == datetime.time()
        return value.date().isoformat() if is_day else value.isoformat(" ", "seconds")
    return str(value)
