"""Text of a list -> its lines, in whatever encoding and with whatever line ends it was saved; tables -> records."""

from __future__ import annotations

import codecs
import csv
import gzip
import os
import re
import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.records import Table, add_row, columns_of
from emotion2vec.documents import LEAST_UNPACKED, MOST_UNPACKED, most_unpacked
from emotion2vec.errors import ManifestError

Lines = list[tuple[int, str]]
"""Lines that are not empty, with their numbers from 1."""

WIDE_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

MOST_LINES, MOST_BYTES = 5_000_000, 1 << 31
"""Lines and bytes that a list may have: an utterance takes some 2 kB in memory until its job ends."""

LEAST_LINES = 100_000
"""Lines that a packed list may have, or one for each of its bytes: short ones take 200 times their bytes in memory."""

MOST_JUDGED = 1 << 20
"""Bytes of a list by which its encoding is told."""

SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""First line of tables from Excel, which names the character between fields."""

SPREADSHEETS = {
    b"PK\x03\x04": "an XLSX or ODS spreadsheet, or a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an XLS spreadsheet",
}
"""First bytes of what is saved by mistake in place of text."""


def read_lines(source: Path, errors: str = "strict") -> tuple[Lines, list[Fault]]:
    """Read the non-empty lines of a text file, UTF-8 or, as Excel saves it, UTF-16; `.gz` is unpacked.

    Args:
        source: the file.
        errors: `strict`, or `replace` where it matters more that a line is read than what its text says.

    Returns:
        The lines, and a fault for each that is no UTF-8.

    Raises:
        ManifestError: the file cannot be opened or unpacked, holds far more than it takes on the disk or than any list,
            or is a spreadsheet.
    """
    try:
        raw = _unpacked(source) if source.suffix.lower() == ".gz" else _whole(source)
    except (OSError, EOFError, zlib.error) as error:
        raise ManifestError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if kind := SPREADSHEETS.get(raw[:4]):
        raise ManifestError(f"{source}: is {kind}, expected text: save it as CSV (UTF-8), or as XLSX under such a name")
    lines: Lines = []
    faults: list[Fault] = []
    for number, line in enumerate(split_lines(narrow(raw)), start=1):
        if not line.strip():
            continue
        try:
            lines.append((number, line.decode("utf-8", errors)))
        except UnicodeDecodeError as error:
            other = line.decode("cp1252", "replace").strip()
            reason = f"not UTF-8 text (byte {error.start + 1} of the line), expected UTF-8: save the list as UTF-8"
            faults.append(Fault(f"{source}:{number}", f"{reason}; as Windows-1252 it reads {other[:80]!r}"))
    return lines, faults


def check_header(source: Path, lines: Lines, unreadable: Sequence[Fault]) -> None:
    """See to it that the first line of a table, which names its columns, could be read.

    Raises:
        ManifestError: it is no UTF-8.
    """
    first = min((int(fault.where.rpartition(":")[2]) for fault in unreadable), default=None)
    if first is not None and (not lines or first < lines[0][0]):
        fault = next(fault for fault in unreadable if fault.where.endswith(f":{first}"))
        raise ManifestError(f"{source}: the header is {fault.reason} (in Excel: 'CSV UTF-8')")


def _whole(source: Path) -> bytes:
    """What a file holds, unless that is holes, which take nothing on the disk."""
    with source.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > LEAST_UNPACKED and hasattr(os, "SEEK_HOLE") and os.lseek(stream.fileno(), 0, os.SEEK_HOLE) < size:
            raise ManifestError(f"{source}: {size:,} bytes of which some are on no disk, expected a list without holes")
        stream.seek(0)
        return read_bounded(stream, str(source))


def read_bounded(stream: IO[bytes], where: str, most: int = MOST_BYTES) -> bytes:
    """Read a list to its end, which it may not have.

    Raises:
        ManifestError: it has more than `MOST_LINES` lines, or more bytes than `most`.
    """
    pieces: list[bytes] = []
    ends = {b"\n": 0, b"\r": 0}
    size = 0
    while piece := stream.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        ends = {end: count + piece.count(end) for end, count in ends.items()}
        if max(ends.values()) > MOST_LINES:
            raise ManifestError(f"{where}: has more than {MOST_LINES:,} lines, expected fewer: give it in parts")
        if size > most:
            raise ManifestError(f"{where}: has more than {most:,} bytes, expected a list of fewer: give it in parts")
    return b"".join(pieces)


def _unpacked(source: Path) -> bytes:
    """What a gzip file holds, unpacked piece by piece."""
    size = source.stat().st_size
    most = most_unpacked(size)
    with gzip.open(source) as stream:
        pieces = list(islice(iter(lambda: stream.read(1 << 20), b""), (most >> 20) + 1))
    if sum(map(len, pieces)) > most:
        raise ManifestError(
            f"{source}: unpacks to more than {most:,} bytes, expected a list, which takes less than {MOST_UNPACKED} "
            "times the bytes that it is packed in"
        )
    ends = max(sum(piece.count(end) for piece in pieces) for end in (b"\n", b"\r"))
    if ends > max(LEAST_LINES, size):
        raise ManifestError(f"{source}: unpacks to {ends:,} lines, expected one for each packed byte at most")
    return b"".join(pieces)


def narrow(raw: bytes) -> bytes:
    """Text as UTF-8 without a byte order mark, where it was UTF-16, with or without one.

    Halves of pairs that are no characters become bytes that are no UTF-8, so that they are faults of their lines alone.
    """
    encoding = next((found for mark, found in WIDE_MARKS.items() if raw.startswith(mark)), None) or _wide(raw)
    if encoding is None:
        return raw.removeprefix(codecs.BOM_UTF8)
    whole, rest = raw[: len(raw) // 2 * 2], raw[len(raw) // 2 * 2 :]
    text = whole.decode(encoding, "surrogatepass").removeprefix("\ufeff").encode("utf-8", "surrogatepass")
    return text + (b"\xff" if rest else b"")


def _wide(raw: bytes) -> str | None:
    """The encoding of UTF-16 without a mark: zeros are where ASCII has them, in every fifth pair at least."""
    raw = raw[:MOST_JUDGED]
    first, second = raw[0::2].count(0), raw[1::2].count(0)
    if len(raw) < 4 or max(first, second) * 10 < len(raw) or min(first, second) * 10 > max(first, second):
        return None
    return "utf-16-be" if first > second else "utf-16-le"


def split_lines(raw: bytes) -> list[bytes]:
    """Lines without their ends: those of Unix, Windows, or, where there are no others, of old Macs.

    Nothing else ends a line: names and texts may hold the further characters that `str.splitlines` knows.
    """
    if b"\n" not in raw:
        return raw.split(b"\r")
    return [line.removesuffix(b"\r") for line in raw.split(b"\n")]


def parse_records(source: Path, lines: Lines) -> Table:
    """Read a comma-, semicolon- or tab-separated table; every line is a row.

    Tab-separated tables have no quoting: a quote is a character like any other. Elsewhere a field in quotes may hold
    the separator, but no end of line; a row that goes on is one fault, which names its first and last line, unless a
    line in between is a row by itself.

    Raises:
        ManifestError: the header is broken, or names a column twice.
    """
    delimiter, lines = _delimiter(source, lines)
    if not lines:
        return Table([], [], [])
    header, *rows = lines
    try:
        columns = columns_of(source, header[0], _fields(header[1], delimiter))
    except csv.Error as error:
        raise ManifestError(f"{source}:{header[0]}: the header cannot be read: {error}") from error
    table = Table(columns, [], [], commas=delimiter != ",")
    place = 0
    while place < len(rows):
        number, line = rows[place]
        try:
            fields = _fields(line, delimiter)
        except csv.Error as error:
            last = place
            if "unexpected end" in str(error):
                last = _last_of_open_field(rows, place, lambda line: _is_row(line, delimiter, len(columns)))
            table.faults.append(_broken(source, number, rows[last][0], str(error)))
            place = last + 1
            continue
        place += 1
        add_row(table, source, number, fields, "" if delimiter == "\t" else ": put text with separators in quotes")
    return table


def _delimiter(source: Path, lines: Lines) -> tuple[str, Lines]:
    """The character between fields, and the lines from the header on."""
    if lines and (match := SEPARATOR_LINE.fullmatch(lines[0][1])):
        return match[1], lines[1:]
    header = lines[0][1] if lines else ""
    usual = ",\t;" if source.suffix.lower() == ".csv" else "\t,;"  # the first wins a tie: a header of one column
    return max(usual, key=header.count), lines


def _fields(line: str, delimiter: str) -> list[str]:
    """Cells of one line.

    Raises:
        csv.Error: its quotes do not fit.
    """
    if delimiter == "\t":
        return line.split("\t")
    csv.field_size_limit(max(csv.field_size_limit(), len(line)))
    return next(csv.reader([line], delimiter=delimiter, strict=True))


def _is_row(line: str, delimiter: str, columns: int) -> bool:
    """Whether a line has a field for each column."""
    try:
        return len(_fields(line, delimiter)) == columns
    except csv.Error:
        return False


def _last_of_open_field(rows: Sequence[tuple[int, str]], first: int, is_row: Callable[[str], bool]) -> int:
    """Place of the line that closes a field which a line opened; that line itself where none does before a row."""
    for place in range(first + 1, len(rows)):
        if rows[place][1].count('"') % 2:
            return place
        if is_row(rows[place][1]):
            return first
    return first


def _broken(source: Path, first: int, last: int, error: str) -> Fault:
    if last > first:
        return Fault(
            f"{source}:{first}-{last}",
            f"a field in quotes goes from line {first} to line {last}, expected every row on one line: close the quote "
            f'on line {first}, or write "" for a quote within a field',
        )
    if "unexpected end" in error:
        error = 'a quote is opened and never closed, expected " at the end of the field'
    return Fault(f"{source}:{first}", f"broken row: {error}")
