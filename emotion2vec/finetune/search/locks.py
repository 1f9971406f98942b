"""Locks between processes: files that belong to a process, and to nobody as soon as it is gone, however it went."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lock:
    """A lock file of this process, from when it is taken until it is let go or the process ends.

    Processes that it forks do not hold it; inside a process it keeps nobody out.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, *, wait: bool = True) -> bool:
        """Take it; whether that was possible, which is always so where it waits."""
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def let_go(self) -> None:
        """Give it back."""
        os.close(self._handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out of a block that all of them enter with this lock file."""
    lock = Lock(path)
    try:
        lock.take()
        yield
    finally:
        lock.let_go()


def is_held(path: Path) -> bool:
    """Whether another process has the lock file."""
    lock = Lock(path)
    try:
        return not lock.take(wait=False)
    finally:
        lock.let_go()
