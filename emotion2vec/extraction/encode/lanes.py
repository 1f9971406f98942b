"""Work side by side: batches on a CPU in lanes, iterators that run ahead, and calls that are carried out later.

One thread per batch is faster on a CPU than all threads on one batch after another: batches there are small (no
padding, so often one clip), and what several threads share of one is too little work for the time that they wait for
each other. The weights are shared.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from queue import Full, Queue
from typing import TypeVar

import torch

from emotion2vec.devices import is_host

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_LANES = 8
"""Every lane holds the activations of a batch: at base size 0.5 GB for 16 s, and 1.1 GB for a window of 40 s."""

ALONE = 8
"""Tasks that wait until they can be carried out alone, before all lanes are emptied for them."""

_setting_up = threading.Lock()
_lane = threading.local()


class LaneClosed(Exception):
    """Nobody waits for what this thread computes any more."""


def stop_if_closed() -> None:
    """Called within work that takes long.

    Raises:
        LaneClosed: this thread is a lane whose results are not wanted any more.
    """
    closed: threading.Event | None = getattr(_lane, "closed", None)
    if closed is not None and closed.is_set():
        raise LaneClosed


def lanes_for(device: torch.device, clips: int) -> int:
    """How many batches to work on at once: on a CPU up to `MAX_LANES`, if there are so many clips and threads."""
    return max(1, min(torch.get_num_threads(), clips, MAX_LANES)) if is_host(device) else 1


def in_lanes(
    tasks: Iterable[Task],
    work: Callable[[Task], Iterable[Result]],
    lanes: int,
    again: Callable[[Result], Task | None] = lambda _: None,
) -> Generator[Result, None, None]:
    """Carry out `work` on each task, `lanes` at once, and hand out results as they are ready; with one lane in order.

    PyTorch's threads are divided among the lanes. Closing the generator drops what has not begun, and waits for the
    rest up to its next result or `stop_if_closed`. An error of the work is raised here.

    Args:
        tasks: what to work on.
        work: gives a task's results.
        lanes: how many tasks are in work at once.
        again: tells a task that is to be carried out once more in place of a result that it would not have given alone;
            it is when nothing else is in work, and what it gives then is final.
    """
    if lanes == 1:
        for task in tasks:
            yield from work(task)
        return
    closed = threading.Event()

    def carry_out(task: Task) -> list[Result]:
        results = []
        for result in work(task):
            results.append(result)
            stop_if_closed()
        return results

    pool = _lane_threads(lanes, closed)
    running: set[Future[list[Result]]] = set()
    waiting: list[Task] = []

    def finished(most: int) -> Iterator[Result]:
        """Results until at most so many tasks are in work; when those that wait are many or the last, theirs too."""
        while len(running) > most:
            for result in _finished(running):
                if (task := again(result)) is None:
                    yield result
                else:
                    waiting.append(task)
        if waiting and (most == 0 or len(waiting) >= ALONE):
            if running:
                yield from finished(0)
            while waiting:
                yield from work(waiting.pop(0))

    try:
        for task in tasks:
            running.add(pool.submit(carry_out, task))
            yield from finished(2 * lanes - 1)  # some wait, so that no lane is idle while the next task is fetched
        yield from finished(0)
    finally:
        closed.set()
        pool.shutdown(cancel_futures=True)


def _finished(running: set[Future[list[Result]]]) -> Iterable[Result]:
    """Wait for some of the running tasks, take them out, and give their results."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    running -= done
    for future in done:
        yield from future.result()


def _lane_threads(lanes: int, closed: threading.Event) -> ThreadPoolExecutor:
    """Start the lanes' threads, each with its share of PyTorch's.

    What a thread sets for itself is also what threads of later begin with, so it is set back as soon as all have begun.
    """
    with _setting_up:
        threads = torch.get_num_threads()
        shares = deque(max(1, threads // lanes + (lane < threads % lanes)) for lane in range(lanes))

        def begin() -> None:
            torch.get_num_threads()  # the first use in a thread takes the number that all begin with
            torch.set_num_threads(shares.popleft())
            _lane.closed = closed

        pool = ThreadPoolExecutor(lanes, "lane", initializer=begin)
        all_begun = threading.Barrier(lanes)
        wait([pool.submit(all_begun.wait) for _ in range(lanes)])
        torch.set_num_threads(threads)
    return pool


@dataclass(frozen=True)
class _End:
    """Last thing in the queue: the iterator ended, or failed."""

    error: BaseException | None = None


def in_background(tasks: Generator[Task, None, None], depth: int) -> Generator[Task, None, None]:
    """Run a generator in a thread, at most `depth` steps ahead of the consumer.

    An error of the generator is raised here; closing this iterator closes the generator and ends the thread.
    """
    queue: Queue[Task | _End] = Queue(maxsize=depth)
    stopped = threading.Event()

    def put(task: Task | _End) -> None:
        while not stopped.is_set():
            try:
                return queue.put(task, timeout=0.1)
            except Full:
                continue

    def produce() -> None:
        try:
            with closing(tasks):
                for task in tasks:
                    put(task)
                    if stopped.is_set():
                        return
        except BaseException as error:
            put(_End(error))
        else:
            put(_End())

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(task := queue.get(), _End):
            yield task
        if task.error is not None:
            raise task.error
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
