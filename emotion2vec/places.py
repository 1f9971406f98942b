"""Reading from and writing to a place of an open file, whatever other threads read and write there meanwhile."""

from __future__ import annotations

import os
import threading

_moving = threading.Lock()
"""Held while the position of a file is used, where the system cannot be told a place with the call, as on Windows."""


def read_at(handle: int, count: int, place: int) -> bytes:
    """Bytes of an open file, at most so many, from a place on."""
    if hasattr(os, "pread"):
        return os.pread(handle, count, place)
    with _moving:
        os.lseek(handle, place, os.SEEK_SET)
        return os.read(handle, count)


def write_at(handle: int, data: memoryview, place: int) -> int:
    """Write bytes to a place of an open file; how many of them were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(handle, data, place)
    with _moving:
        os.lseek(handle, place, os.SEEK_SET)
        return os.write(handle, data)


def open_to_read(path: str) -> int:
    """A descriptor of a file whose bytes are read as they are, which Windows has to be told."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
