"""Ctrl-C and SIGTERM: noted until a good moment, or raised like Ctrl-C always is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

PREEMPTED = 75
"""Exit code after SIGTERM, when what was done is saved: EX_TEMPFAIL of sysexits.h, "try again"."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised in the main thread as Ctrl-C is."""


def exit_code(number: int) -> int:
    """What a program exits with that a signal ended after it had saved what it did."""
    return PREEMPTED if number == signal.SIGTERM else 128 + number


class Interrupts:
    """While entered, the first SIGINT or SIGTERM is only noted in `caught`; a second one acts as it did before.

    A SIGINT that is ignored stays so: in a job that a script put into the background, Ctrl-C is for another program.
    SIGTERM is noted even where it was ignored, since a scheduler sends it to whom it means.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if number == signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def raise_caught(self) -> None:
        """Raise what was noted, as it would have been raised otherwise; nothing where nothing was."""
        if self.caught is not None:
            raise Terminated if self.caught == signal.SIGTERM else KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


@contextmanager
def raising_terminated() -> Iterator[None]:
    """Let the first SIGTERM raise `Terminated`; a second one ends the process as it always does."""

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def finishing(*steps: Callable[[], object]) -> Iterator[None]:
    """Do these steps after the block, in order, each whatever became of those before it.

    No SIGINT or SIGTERM comes between them; it is raised at their end. What went wrong first is raised: what the block
    raises before what a step does, so that a cause is never hidden by what follows from it.
    """
    first: BaseException | None = None
    try:
        yield
    except BaseException as error:
        first = error
    with Interrupts() as interrupts:
        for step in steps:
            try:
                step()
            except Exception as error:
                first = first or error
    if first is not None:
        raise first
    interrupts.raise_caught()
