"""Signals in tests: what is interrupted can be, however the tests themselves were started.

A process under `nohup`, or in a job that a script put into the background, has signals ignored, and what it starts
inherits that. A test that interrupts says here that it wants the handlers which a program in a terminal has.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


def default_signals() -> None:
    """Give this process the handlers of one that was started in a terminal, with nothing ignored or held back."""
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def start_child(command: Sequence[Any], **options: Any) -> subprocess.Popen[Any]:
    """Start a child that signals reach; options are those of `subprocess.Popen`."""
    return subprocess.Popen(command, preexec_fn=default_signals, **options)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt in this process."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
