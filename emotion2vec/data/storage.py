"""Bytes from disk or object storage: ranges of files, and which failures speak of the storage and not of a file."""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from emotion2vec.audio.decode.remote import patience
from emotion2vec.documents import MOST_JSON
from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.places import open_to_read, read_at

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Result = TypeVar("Result")

HICCUP = 3.0
"""Seconds for which a read is tried again where it failed; `emotion2vec.data.batches` waits for longer outages."""

LOST = frozenset(
    {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
    | {errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED}
)
"""Errors that speak of a disk, mount or network, and not of one file."""

OPEN_FILES = 128
"""Local files that a process keeps open to read ranges of."""


class Range(NamedTuple):
    """Bytes `start` to `stop` of a file, which is a path or an fsspec URL."""

    path: str
    start: int
    stop: int


class Unreachable(Exception):
    """A read failed in a way that may pass; `with_retries` tries again."""


def is_remote(path: str) -> bool:
    """Whether a path is a URL for fsspec (`s3://bucket/speech`, `simplecache::s3://...`) and not of this machine."""
    return "://" in path or "::" in path


def join(folder: str, name: str) -> str:
    """Path of a file in a folder, of this machine or not."""
    return f"{folder.rstrip('/')}/{name}"


def with_retries(read: Callable[[], Result]) -> Result:
    """Call `read`; while it raises Unreachable, call again after a moment.

    Raises:
        StorageError: it was still unreachable after some seconds.
    """
    delay, deadline = 0.5, time.monotonic() + HICCUP
    while True:
        try:
            return read()
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise StorageError(str(error)) from error
            time.sleep(delay)
            delay *= 2


def read_file(path: str, most: int = MOST_JSON) -> bytes:
    """Read a whole file of at most so many bytes.

    Raises:
        FileNotFoundError: it does not exist.
        Unreachable: it cannot be read otherwise.
        ValueError: it is larger.
    """
    try:
        if is_remote(path):
            system, name = _system(path)
            found: bytes = system.cat_file(name, start=0, end=most + 1)
        else:
            with open(path, "rb") as stream:
                found = stream.read(most + 1)
    except (FileNotFoundError, ConfigError):
        raise
    except Exception as error:  # every kind of storage raises its own
        raise Unreachable(_describe(path, error)) from error
    if len(found) > most:
        raise ValueError(f"more than {most:,} bytes, expected a short document")
    return found


def read_ranges(ranges: Sequence[Range]) -> list[bytes]:
    """Read ranges of files, those of object storage concurrently; of a server that gives whole files, parts of those.

    Raises:
        Unreachable: one of them cannot be read, or its file is shorter than that.
    """
    if not ranges:
        return []
    if not is_remote(ranges[0].path):
        found = [_read_local(item) for item in ranges]
    else:
        system, _ = _system(ranges[0].path)
        names = [system._strip_protocol(item.path.rpartition("::")[2]) for item in ranges]
        try:
            given = system.cat_ranges(
                names, [item.start for item in ranges], [item.stop for item in ranges], on_error="raise"
            )
        except Exception as error:  # every kind of storage raises its own
            raise Unreachable(_describe(ranges[0].path, error)) from error
        found = [
            data if len(data) == item.stop - item.start else data[item.start : item.stop]
            for item, data in zip(ranges, given, strict=True)
        ]
    for item, data in zip(ranges, found, strict=True):
        if len(data) != item.stop - item.start:
            raise Unreachable(f"{item.path}: ends before byte {item.stop}, expected the file that was prepared")
    return found


class _OpenFiles:
    """Descriptors of the files read last; shards are read in many small ranges.

    Forked workers inherit them, which does no harm: reads name their place, and closing closes the worker's own.
    """

    def __init__(self) -> None:
        self.descriptors: OrderedDict[str, int] = OrderedDict()

    def get(self, path: str) -> int:
        if path not in self.descriptors:
            self.descriptors[path] = open_to_read(path)
            if len(self.descriptors) > OPEN_FILES:
                os.close(self.descriptors.popitem(last=False)[1])
        self.descriptors.move_to_end(path)
        return self.descriptors[path]

    def forget(self, path: str) -> None:
        descriptor = self.descriptors.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)


_open_files = _OpenFiles()


def _read_local(item: Range) -> bytes:
    try:
        file = _open_files.get(item.path)
        size = min(item.stop, os.fstat(file).st_size) - item.start  # an index may say anything, and room is made for it
        return read_at(file, max(0, size), item.start)
    except OSError as error:
        _open_files.forget(item.path)
        raise Unreachable(_describe(item.path, error)) from error


def _system(url: str) -> tuple[AbstractFileSystem, str]:
    """File system of a URL and the path in it; fsspec keeps one instance per process.

    Raises:
        ConfigError: the package for this kind of storage is not installed, or there is no such kind.
    """
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(url, **patience(url))
    except ImportError as error:
        package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
        kind = url.rpartition("::")[2].partition("://")[0]
        name = package.get(kind, f"the package for {kind}")
        raise ConfigError(f"{url}: this storage needs {name}: pip install {name}") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}") from error


def _describe(path: str, error: BaseException) -> str:
    reason: Any = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{path}: cannot be read: {reason}"


def storage_lost(path: Path, error: BaseException | None) -> bool:
    """Whether a file failed to open because its disk or network is gone, and not because of the file itself.

    A missing file counts as lost with its storage when its folder is missing too, or empty, as an unmounted one is.
    """
    if not isinstance(error, OSError):
        return False
    if error.errno in LOST:
        return True
    if error.errno != errno.ENOENT:
        return False
    try:
        return next(os.scandir(path.parent), None) is None
    except OSError:
        return True
