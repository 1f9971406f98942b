"""Signals of the processes that decode: they end when the main process says so, and not before it has saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HELD = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back: workers inherit this, so that none is hit before it can tell who sent them."""
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows, where nothing can be held back
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_signals(worker: int) -> None:
    """Make a worker ignore SIGINT, and SIGTERM unless its parent sends it.

    Schedulers send SIGTERM to the whole process group, and the main process still needs its workers to finish the
    update and to save. PyTorch's loader and `multiprocessing` end workers by SIGTERM too, and must still be able to.
    Where the sender cannot be told (no `sigwaitinfo`, as on macOS), SIGTERM ends a worker as it always does, and so it
    does on Windows, where a process cannot be sent one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "pthread_sigmask"):
        return
    if not hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="sigterm", daemon=True).start()


def _end_with_parent() -> None:
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender in (os.getppid(), os.getpid()):
            os._exit(0)
