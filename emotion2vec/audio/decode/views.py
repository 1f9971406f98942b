"""A file as a decoder should see it: a part of it, with some bytes replaced, or longer than it is."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import BinaryIO


class View(io.RawIOBase):
    """Bytes `start` to `stop` of a seekable file, as a file of its own.

    Args:
        file: whose position is moved.
        start: first byte.
        stop: the byte after the last; None for the end.
        replaced: bytes to read in place of the file's, by their place in the view.
        claimed: length that is told to whoever asks for the end. Reads there give zeros, as decoders look for tags at
            the end; everywhere else the view ends where it does.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int = 0,
        stop: int | None = None,
        *,
        replaced: Mapping[int, bytes] | None = None,
        claimed: int | None = None,
    ):
        self._file, self._start, self._position = file, start, 0
        self._size = (file.seek(0, os.SEEK_END) if stop is None else stop) - start
        self._replaced = dict(replaced or {})
        self._claimed = self._size if claimed is None else claimed

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._claimed}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # noqa: D102
        wanted = len(buffer)
        if self._claimed - TAG_BYTES <= self._position < self._claimed != self._size:
            data = bytes(min(wanted, self._claimed - self._position))
        else:
            self._file.seek(self._start + self._position)
            data = self._file.read(max(0, min(wanted, self._size - self._position)))
        first, last = self._position, self._position + len(data)
        for place, new in self._replaced.items():
            low, high = max(first, place), min(last, place + len(new))
            if low < high:
                data = data[: low - first] + new[low - place : high - place] + data[high - first :]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


TAG_BYTES = 128
"""Bytes at the end of an MP3 that may be a tag of ID3v1."""
