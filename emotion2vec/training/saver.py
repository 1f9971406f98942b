"""Saving off the hot path: a thread writes one checkpoint at a time while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from emotion2vec.errors import CheckpointError


class Saver:
    """Writes checkpoints in turn, in the background or at once.

    A checkpoint that cannot be written does not stop a run that can still be saved later; the last one does.
    """

    def __init__(self, *, background: bool, say: Callable[[str], None]):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if background else None
        self._pending: Future[None] | None = None
        self._failed = False
        self._say = say

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until what was begun is on disk."""
        self._settle()
        if self._pool is not None:
            self._pool.shutdown()

    def save(self, write: Callable[[], object], *, last: bool = False) -> None:
        """Write a checkpoint after the one before it; `last` waits for it.

        Raises:
            CheckpointError: the last checkpoint cannot be written.
        """
        self._settle()
        if last:
            write()
        elif self._pool is None:
            self._attempt(write)
        else:
            self._pending = self._pool.submit(self._attempt, write)

    def failed(self) -> bool:
        """Whether the checkpoint before could not be written; waits for it."""
        self._settle()
        return self._failed

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            self._failed = False
            write()
        except CheckpointError as error:
            self._failed = True
            self._say(f"warning: {error}; training goes on, and the next checkpoint is tried again")
