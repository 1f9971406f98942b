"""Batches side by side on a CPU: one thread per batch is faster than all threads on one batch after another.

Batches on a CPU are small (no padding, so often one clip), and what several threads share of one is too little work
for the time that they wait for each other. The weights are shared.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from emotion2vec.devices import is_host

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_LANES = 8
"""Every lane holds the activations of a batch: at base size 0.5 GB for 16 s, and 1.1 GB for a window of 40 s."""

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
    tasks: Iterable[Task], work: Callable[[Task], Iterable[Result]], lanes: int
) -> Generator[Result, None, None]:
    """Carry out `work` on each task, `lanes` at once, and hand out results as they are ready; with one lane in order.

    PyTorch's threads are divided among the lanes. Closing the generator drops what has not begun, and waits for the
    rest up to its next result or `stop_if_closed`. An error of the work is raised here.
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
    try:
        for task in tasks:
            running.add(pool.submit(carry_out, task))
            while len(running) >= 2 * lanes:  # some wait, so that no lane is idle while the next task is fetched
                yield from _finished(running)
        while running:
            yield from _finished(running)
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
