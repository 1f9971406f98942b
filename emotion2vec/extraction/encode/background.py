"""Work that happens beside the model: iterators that run ahead, and calls that are carried out later, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _End:
    """Last thing in the queue: the iterator ended, or failed."""

    error: BaseException | None = None


def in_background(items: Generator[Item, None, None], depth: int) -> Generator[Item, None, None]:
    """Run a generator in a thread, at most `depth` items ahead of the consumer.

    An error of the generator is raised here; closing this iterator closes the generator and ends the thread.
    """
    queue: Queue[Item | _End] = Queue(maxsize=depth)
    stopped = Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue

    def produce() -> None:
        try:
            with closing(items):
                for item in items:
                    put(item)
                    if stopped.is_set():
                        return
        except BaseException as error:
            put(_End(error))
        else:
            put(_End())

    thread = Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


class Later:
    """Carries calls out one after the other in a thread, at most `depth` behind; their results are collected in order.

    Args:
        depth: calls that may wait; another one waits for the first of them.
    """

    def __init__(self, depth: int):
        self._depth = depth
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="later")
        self._waiting: deque[tuple[Future[object], Callable[[object], None]]] = deque()

    def call(self, function: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Carry `function` out in the thread; `then` gets its result, here, when it is done.

        Raises:
            Exception: whatever an earlier call raised.
        """
        self._waiting.append((self._thread.submit(function), then))  # type: ignore[arg-type]
        self.settle(self._depth)

    def settle(self, left: int = 0) -> None:
        """Wait until at most `left` calls are waiting, and pass on what is done.

        Raises:
            Exception: whatever one of the calls raised.
        """
        while self._waiting and (len(self._waiting) > left or self._waiting[0][0].done()):
            future, then = self._waiting.popleft()
            then(future.result())

    def close(self) -> None:
        """Drop the calls that have not begun, wait for the one that has, and end the thread."""
        self._thread.shutdown(cancel_futures=True)
