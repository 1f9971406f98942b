"""What a disk says when it does not take something, whoever was writing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Errors after which nothing more can be written."""

_NUMBER = re.compile(r"(?:errno = |\(os error )(\d+)")
"""How HDF5 and what is written in Rust quote the system in errors of their own."""

_OF_SQLITE = {13: errno.ENOSPC, 10: errno.EIO, 14: errno.EIO}
"""What SQLite calls a full disk, one that failed, and one on which no file can be opened."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have faults of the disk be OSErrors that name what is written.

    Those of a write and a flush name nothing, and libraries raise errors of their own, which quote the system or follow
    from what it said.

    Raises:
        OSError: the disk does not take it.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except Exception as error:
        number = quoted(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def quoted(error: BaseException) -> int | None:
    """The number of the system's error that a library's error quotes or follows from; None if there is none."""
    following: BaseException | None = error
    while following is not None:
        if isinstance(following, OSError) and following.errno is not None:
            return following.errno if following.errno in FULL else None
        if found := _NUMBER.search(str(following)):
            return int(found[1])
        if (code := getattr(following, "sqlite_errorcode", 0) & 0xFF) in _OF_SQLITE:
            return _OF_SQLITE[code]
        following = following.__cause__ or following.__context__
    return None
