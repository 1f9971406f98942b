"""Audio behind URLs: opened so that it can be moved in, from servers of every kind, and not waited for without end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

from emotion2vec.errors import AudioError

SILENT_SECONDS = 30.0
"""How long a server may take to answer, or to send what comes next, in s."""


def is_url(source: object) -> bool:
    """Whether a source of audio is a URL."""
    return isinstance(source, str) and "://" in source


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
                shutil.copyfileobj(stream, copy)
                stream = copy
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

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)
    return {"client_kwargs": {"timeout": timeout}}


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
