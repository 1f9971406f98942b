"""Audio behind URLs: opened so that it can be moved in, from servers of every kind, and not waited for without end.

A server may be silent, give a byte now and then, or give bytes without end; a job goes on without it.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, BinaryIO

from emotion2vec.errors import AudioError

SILENT_SECONDS = 30.0
"""How long a server may take to answer, or to send what comes next, in s."""

SLOWEST = 20_000
"""Bytes that a server must give in a second, on the average, after `SILENT_SECONDS`."""

LONGEST_SECONDS = 3600.0
"""How long one file, or one part of it, may take, in s."""

MOST_BYTES, MOST_PAGE = 1 << 31, 1 << 26
"""Bytes of a file of audio, and of an answer of which no part was asked for."""


def is_url(source: object) -> bool:
    """Whether a source of audio is a URL."""
    return isinstance(source, str) and "://" in source


class EndlessError(Exception):
    """A server gives too much, or too slowly."""


@contextmanager
def open_url(url: str, name: str) -> Iterator[BinaryIO]:
    """Open a URL as a file that can be moved in: a copy of it where its server gives no parts of files, or no length.

    Args:
        url: what fsspec opens.
        name: for messages.

    Raises:
        AudioError: it cannot be opened, or needs a package that is not installed.
    """
    with ExitStack() as stack:
        try:
            import fsspec

            options = patience(url)
            stream: Any = stack.enter_context(fsspec.open(url, "rb", **options))
            if not _gives_parts(stream):
                stream.close()
                if options:
                    stream = stack.enter_context(fsspec.open(url, "rb", block_size=0, **options))
                else:
                    stream = stack.enter_context(fsspec.open(url, "rb"))
                copy = stack.enter_context(tempfile.TemporaryFile())
                copy_in_time(stream, copy)
                stream = copy
            elif stream.size > MOST_BYTES:
                raise EndlessError(
                    f"its server says that it has {stream.size:,} bytes, expected at most {MOST_BYTES:,}"
                )
            stream.seek(0)
        except ImportError as error:  # fsspec itself, or the package of one protocol, which its message names
            raise AudioError(f"{name}: cannot be opened: {error}; pip install fsspec, and what it names") from error
        except Exception as error:  # every kind of storage raises its own
            raise AudioError(f"{name}: cannot be opened: {_reason(error)}") from error
        yield stream


def patience(url: str) -> dict[str, Any]:
    """What fsspec is told of servers of web pages, which may be silent."""
    if not url.startswith(("http://", "https://")):
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        LONGEST_SECONDS + SILENT_SECONDS, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS
    )
    return {"client_kwargs": {"timeout": timeout, "response_class": _bounded_response()}}


def copy_in_time(stream: BinaryIO, copy: BinaryIO) -> None:
    """Copy what a server gives.

    Raises:
        EndlessError: it is too much, or takes too long.
    """
    arrived = _Arrived(MOST_BYTES)
    while piece := stream.read(1 << 20):
        arrived.count(len(piece))
        copy.write(piece)


class _Arrived:
    """Counts what arrives of a file.

    Args:
        most: bytes of it.
    """

    def __init__(self, most: int):
        self._most = most
        self._bytes = 0
        self._started = time.monotonic()

    def count(self, size: int) -> None:
        """Count so many more bytes.

        Raises:
            EndlessError: they are too many, or took too long.
        """
        self._bytes += size
        waited = time.monotonic() - self._started
        if self._bytes > self._most:
            raise EndlessError(f"its server gives more than {self._most:,} bytes")
        if waited > min(LONGEST_SECONDS, SILENT_SECONDS + self._bytes / SLOWEST):
            raise EndlessError(
                f"its server gave {self._bytes:,} bytes in {waited:.0f} s, expected {SLOWEST:,} a second, and all "
                f"in {LONGEST_SECONDS:g} s"
            )


@cache
def _bounded_response() -> type:
    """A class of aiohttp's answers that take no more into memory than what was asked for."""
    import aiohttp

    class Bounded(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            """All of the answer; where a part was asked for and all is given, that part.

            Raises:
                EndlessError: it is too much, or takes too long.
            """
            if self._body is None:
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
                first, last = (int(asked[1]), int(asked[2])) if asked else (0, MOST_PAGE - 1)
                whole = asked and self.status == 200 and "Content-Range" not in self.headers
                if whole and (self.content_length is None or self.content_length > last - first + 1):
                    self._body = await self._part(first, last + 1)
                else:
                    arrived, found = _Arrived(last - first + 1), bytearray()
                    async for piece in self.content.iter_any():
                        arrived.count(len(piece))
                        found += piece
                    self._body = bytes(found)
            return self._body

        async def _part(self, first: int, end: int) -> bytes:
            """Bytes of an answer, which is read no further."""
            arrived, found, place = _Arrived(MOST_BYTES), bytearray(), 0
            async for piece in self.content.iter_any():
                arrived.count(len(piece))
                found += piece[max(0, first - place) : max(0, end - place)]
                place += len(piece)
                if place >= end:
                    self.close()
                    break
            return bytes(found)

    return Bounded


def _gives_parts(stream: Any) -> bool:
    """Whether a file can be moved in; that it says so is no sign."""
    size = getattr(stream, "size", None)
    if not stream.seekable() or size is None:
        return False
    try:
        stream.seek(max(0, size - 1))
        return len(stream.read(1)) == min(1, size)
    except ValueError:  # the server gives all of it, whatever was asked for
        return False


def _reason(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:  # fsspec says of a server without an answer that the file is not found
        if "Timeout" in type(cause).__name__:
            return f"its server was silent for {SILENT_SECONDS:g} s"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, FileNotFoundError):
        return "no such file, or no server that answers"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
