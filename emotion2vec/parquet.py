"""Parquet files that anybody may have written: opened only where their columns hold not far more than they take.

A file says three times how large a column is, and two of them may lie: what counts is what each page says, since that
is what a reader makes room for. https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from emotion2vec.documents import check_unpacked

VALUE_BYTES = 8
"""What a value may take when it is read: a few bytes can stand for any number of equal ones."""

TEXT_BYTES = 64
"""What a text takes beside its letters."""

MOST_FOOTER = 1 << 24
"""Bytes of what a file says of itself; that of 10,000 groups of rows takes half of them."""

SIZE, PACKED_SIZE, ABOUT_VALUES, COUNT = 2, 3, (5, 7, 8), 1
"""Fields of a page's header, and the field of those about its values that counts them."""


def open_parquet(stream: BinaryIO, columns: Sequence[str], texts: Sequence[str] = ()) -> Any:
    """Open a Parquet file of lists of numbers and of texts; the package must be there.

    Args:
        stream: the file, which stays open as long as it is read.
        columns: those that will be read, of lists of numbers; what it lacks of them is passed over.
        texts: those that will be read with `read_texts`, which it must have.

    Returns:
        A `pyarrow.parquet.ParquetFile`.

    Raises:
        ValueError: a column is of another type, or unpacks to far more than honest data does.
        Exception: what pyarrow raises of a file that is none.
    """
    import pyarrow
    import pyarrow.parquet

    size = os.fstat(stream.fileno()).st_size
    stream.seek(max(0, size - 8))
    footer = int.from_bytes(stream.read(4), "little")
    if footer > MOST_FOOTER:
        raise ValueError(f"says {footer:,} bytes of itself, expected at most {MOST_FOOTER:,}")
    file = pyarrow.parquet.ParquetFile(stream, read_dictionary=list(texts))
    for name in columns:
        if name in file.schema_arrow.names and not _holds_numbers(file.schema_arrow.field(name).type):
            raise ValueError(f"{name} holds {file.schema_arrow.field(name).type}, expected lists of numbers")
    for name in texts:
        kind = file.schema_arrow.field(name).type
        if not pyarrow.types.is_dictionary(kind) or not pyarrow.types.is_string(kind.value_type):
            raise ValueError(f"{name} holds {kind}, expected text")
    _check_size(stream, file, {*columns, *texts}, size)
    return file


def read_columns(stream: BinaryIO, wanted: Callable[[str], bool]) -> dict[str, list[Any]]:
    """Read flat columns of numbers and of texts, None where a cell is empty; the package must be there.

    Args:
        stream: the file.
        wanted: which columns, by their names.

    Raises:
        ValueError: a column is of another type, or unpacks to far more than honest data does.
        Exception: what pyarrow raises of a file that is none.
    """
    import pyarrow
    import pyarrow.parquet
    from pyarrow import types

    schema = open_parquet(stream, ()).schema_arrow
    fields = [field for field in schema if wanted(field.name)]
    texts = [field.name for field in fields if _holds_text(field.type)]
    for field in fields:
        kind = field.type
        if field.name not in texts and not (types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind)):
            raise ValueError(f"{field.name} holds {kind}, expected numbers or text")
    stream.seek(0)
    file = pyarrow.parquet.ParquetFile(stream, read_dictionary=texts)
    first = {field.name.partition(".")[0] for field in fields}
    _check_size(stream, file, first, os.fstat(stream.fileno()).st_size)
    table = file.read(columns=[field.name for field in fields])
    return {name: _cells(table[name]) for name in table.column_names}


def _holds_text(kind: Any) -> bool:
    from pyarrow import types

    while types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _cells(column: Any) -> list[Any]:
    """Cells of a column; one text of many rows is in memory once."""
    found: list[Any] = []
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            words = [*chunk.dictionary.to_pylist(), None]
            found += [words[-1 if place is None else place] for place in chunk.indices.to_pylist()]
        else:
            found += chunk.to_pylist()
    return found


def read_texts(file: Any, name: str, size: int) -> list[list[str]]:
    """The texts of a column in each group of rows; a few bytes can repeat one any number of times.

    Args:
        file: what `open_parquet` opened with these texts.
        name: of the column.
        size: bytes of the file.

    Raises:
        ValueError: some are missing, or they take far more than honest ones do.
    """
    import pyarrow.compute

    found: list[list[str]] = []
    taken = 0
    for group in range(file.num_row_groups):
        found.append([])
        for chunk in file.read_row_group(group, columns=[name])[name].chunks:
            if chunk.null_count:
                raise ValueError(f"{chunk.null_count} rows have no {name}")
            letters = pyarrow.compute.binary_length(chunk.dictionary).take(chunk.indices)
            taken += TEXT_BYTES * len(chunk) + (pyarrow.compute.sum(letters).as_py() or 0)
            check_unpacked(taken, size)
            found[-1] += chunk.to_pylist()
    return found


def _holds_numbers(kind: Any) -> bool:
    """Whether values of a type are lists, or lists of lists, of numbers."""
    from pyarrow import types

    if not kind.num_fields:
        return False
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(types.is_floating(kind) or types.is_integer(kind))


def _check_size(stream: BinaryIO, file: Any, columns: set[str], size: int) -> None:
    """Add up what the columns take when they are read.

    Raises:
        ValueError: that is too much, or a page's header cannot be read.
    """
    taken = 0
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for group in range(file.num_row_groups):
            for number in range(file.metadata.num_columns):
                column = file.metadata.row_group(group).column(number)
                if column.path_in_schema.partition(".")[0] not in columns:
                    continue
                if not column.num_values:  # no page of it is read
                    continue
                starts = [column.data_page_offset]
                if column.has_dictionary_page and column.dictionary_page_offset > 0:
                    starts.append(column.dictionary_page_offset)
                pages = list(_pages(data, min(starts), min(starts) + column.total_compressed_size))
                values = max(column.num_values, sum(count for _, count in pages))
                taken += max(column.total_uncompressed_size, sum(page for page, _ in pages)) + VALUE_BYTES * values
                check_unpacked(taken, size)


def _pages(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Bytes of each page when it is unpacked, and its values.

    Raises:
        ValueError: it has no header that can be read.
    """
    if at <= 0:
        raise ValueError(f"pages begin at byte {at}")
    while at < end:
        try:
            header, at = _struct(data, at)
            size, packed = header[SIZE], header[PACKED_SIZE]
            count = sum(header[field][COUNT] for field in ABOUT_VALUES if field in header)
        except (IndexError, KeyError, TypeError) as error:
            raise ValueError(f"no header of a page ends at byte {at}") from error
        if min(size, packed, count) < 0:
            raise ValueError(f"the page at byte {at} has {packed} bytes, which unpack to {size}, and {count} values")
        yield size, count
        at += packed


def _struct(data: mmap.mmap, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Fields of a structure of Thrift's compact protocol, by their numbers, and where it ends; of lists, nothing."""
    if depth > 4:
        raise ValueError("a page has a header that is nested")
    fields: dict[int, Any] = {}
    number = 0
    while (first := data[at]) != 0:
        at += 1
        kind = first & 15
        if first >> 4:
            number += first >> 4
        else:
            number, at = _number(data, at)
        if kind in (1, 2):  # true and false
            continue
        if kind in (4, 5, 6):
            fields[number], at = _number(data, at)
        elif kind == 8:
            length, at = _unsigned(data, at)
            at += length
        elif kind == 12:
            fields[number], at = _struct(data, at, depth + 1)
        else:
            raise ValueError("a page has a header with fields that no such header has")
    return fields, at + 1


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    raw, at = _unsigned(data, at)
    return (raw >> 1) ^ -(raw & 1), at


def _unsigned(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Seven bits a byte, the least first, up to a byte below 128."""
    value = 0
    for place in range(10):
        value |= (data[at + place] & 127) << 7 * place
        if data[at + place] < 128:
            return value, at + place + 1
    raise ValueError("a page has a number without end in its header")
