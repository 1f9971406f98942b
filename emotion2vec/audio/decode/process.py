"""A program whose output is read: drained, bounded in time, and gone when we are."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

KEPT_LINES = 200
"""Lines of messages that are kept from the start, and as many from the end."""

LONGEST_LINE = 8192
"""Bytes of a line of messages; what goes beyond is another line."""

PR_SET_PDEATHSIG = 1

_spawners: dict[int, ThreadPoolExecutor] = {}


class Program:
    """A running program with its output on a pipe. Its messages are read in a thread, so that it never waits for that.

    Args:
        command: program and arguments.
        patience: longest wait for output, in s; then it is ended.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], patience: float):
        self._process = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._output, self._errors = self._process.stdout, self._process.stderr
        self._patience = patience
        self.timed_out = False
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._drain = threading.Thread(target=self._keep_messages, daemon=True)
        self._drain.start()

    def _keep_messages(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed while it was read
            for line in iter(lambda: self._errors.readline(LONGEST_LINE), b""):
                text = line.decode(errors="replace").rstrip()
                (self._first if len(self._first) < KEPT_LINES else self._last).append(text)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of its output, less at its end, or when it took too long."""
        watch = threading.Timer(self._patience, self._give_up)
        watch.daemon = True
        watch.start()
        try:
            return self._output.read(size)
        finally:
            watch.cancel()

    def _give_up(self) -> None:
        self.timed_out = True
        self._process.kill()

    def wait(self) -> tuple[int, list[str]]:
        """Its exit code and messages, after its output has ended."""
        try:
            code = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self._give_up()
            code = self._process.wait()
        self._drain.join(self._patience)
        return code, [*self._first, *self._last]

    def close(self) -> None:
        """End it if it still runs, and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._drain.join(1.0)
        self._errors.close()


def spawn(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program that is killed when this process ends, however it ends, where the system can do that.

    Linux ties that to the thread that starts it, so one thread that lives as long as the process starts them all.

    Args:
        command: program and arguments.
        options: those of `subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    die = _die_with_parent()
    # Without a lock, which a fork could find taken for ever; of two that are made at once, one starts no thread.
    starter = _spawners.setdefault(os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="spawn"))
    # What runs between fork and exec is nothing but one system call, looked up before the fork.
    return starter.submit(_start, list(command), {"preexec_fn": die, **options}).result()


def _start(command: list[str], options: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, **options)


def _die_with_parent() -> Callable[[], object] | None:
    if sys.platform != "linux":
        return None
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
