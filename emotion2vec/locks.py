"""Locks between processes: files that belong to a process, and to nobody as soon as it is gone, however it went."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.owners import is_gone, this_owner
from emotion2vec.units import duration

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
"""Name of the lock of a folder."""

WAIT_SECONDS = 0.02
"""Time between two looks at a lock that is waited for, in s."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""What file systems without locks say."""

_held: set[int] = set()
"""Descriptors of locks of this process."""


class Lock:
    """A lock file of this process, from when it is taken until it is let go or the process ends.

    Processes that it forks do not hold it; inside a process it keeps nobody out, and whatever else there opens and
    closes the file lets it go: it is for files that nothing else uses.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, *, wait: bool = True) -> bool:
        """Take it; whether that was possible, which is always so where it waits."""
        try:
            if sys.platform == "win32":
                _lock_byte(self._handle, wait=wait)
            else:
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


@contextmanager
def only_writer(path: Path, output: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Be the only one that writes to an output, in this process too; the lock file goes after the block.

    The lock of a process that has ended is nobody's, however it ended. Where the file system has no locks, what the
    file says of its owner decides. On Windows those who share keep nobody out; the others do.

    Args:
        path: the lock file.
        output: what is written, for the message.
        shared: others that share it may write too.
        wait: until others are done, which takes a moment.

    Raises:
        ConfigError: another one writes there.
        StorageError: the lock file cannot be written.
    """
    try:
        handle = _take(path, output, shared, wait)
    except OSError as error:
        raise StorageError(f"output {output}: {path} cannot be written: {error.strerror}") from error
    _held.add(handle)
    try:
        yield
    finally:
        with suppress(OSError):
            if not shared or _try(handle):  # of several that share it, the last one
                path.unlink(missing_ok=True)
        _held.discard(handle)
        os.close(handle)
        if sys.platform == "win32":
            with suppress(OSError):  # files that somebody has open stay there
                path.unlink(missing_ok=True)


def _take(path: Path, output: Path, shared: bool, wait: bool) -> int:
    """A descriptor of the file at `path`, locked, that says who has it."""
    _forget_in_forks()
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        taken = False
        try:
            taken = _try(handle, shared)
            if not taken and not wait:
                raise ConfigError(f"output {output}: {_described(handle)}; wait for it, or choose another output")
            taken = taken and _is_at(handle, path)  # the one who had it may have removed it meanwhile
            if taken:
                _sign(handle, path)
                return handle
        finally:
            if not taken:
                os.close(handle)
        time.sleep(WAIT_SECONDS)


def _sign(handle: int, path: Path) -> None:
    """Write into a lock file who has it, and since when."""
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps({"owner": this_owner(), "since": time.time()}).encode())
    except OSError:
        path.unlink(missing_ok=True)
        os.close(handle)
        raise


def _try(handle: int, shared: bool = False) -> bool:
    """Take a lock if it is free; without locks, if its owner is no process that may still run."""
    try:
        if sys.platform == "win32":
            _lock_byte(handle, keep=not shared)
        else:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        owner = str(_said(handle).get("owner", ""))
        return not owner or owner == this_owner() or bool(is_gone(owner))
    return True


if sys.platform == "win32":

    def _lock_byte(handle: int, *, wait: bool = False, keep: bool = True) -> None:
        """Lock a byte far behind what a file says, since what is locked nobody else can read; BlockingIOError if it is.

        Args:
            handle: of the file.
            wait: until it is free.
            keep: otherwise only see that it is free.
        """
        while True:
            os.lseek(handle, 1 << 30, os.SEEK_SET)
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                break
            except OSError as error:
                if not wait:
                    raise BlockingIOError(error.errno, error.strerror) from error
            time.sleep(WAIT_SECONDS)
        if not keep:
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _said(handle: int) -> dict[str, object]:
    with suppress(OSError, ValueError):
        os.lseek(handle, 0, os.SEEK_SET)
        found = json.loads(os.read(handle, 4096))
        if isinstance(found, dict):
            return found
    return {}


def _described(handle: int) -> str:
    """Who has a lock, and for how long."""
    said = _said(handle)
    machine, _, number = str(said.get("owner", "")).rpartition(".")
    if not machine:
        return "another process is writing there"
    since = said.get("since")
    age = f", for {duration(max(0.0, time.time() - since))}" if isinstance(since, float) else ""
    return f"process {number} of {machine} is writing there{age}"


@cache
def _forget_in_forks() -> None:
    """Have processes that are forked from now on let go of locks, which end with this process."""
    if sys.platform != "win32":  # which has no forks
        os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()
