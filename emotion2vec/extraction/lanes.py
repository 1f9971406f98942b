"""Batches side by side on a CPU: one thread per batch is faster than all threads on one batch after another.

Batches on a CPU are small (no padding, so often one clip), and what several threads share of one is too little work
for the time that they wait for each other. The weights are shared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")

MAX_LANES = 8
"""Every lane holds the activations of a batch: at base size 0.5 GB for 16 s, and 1.1 GB for a window of 40 s."""


def lanes_for(device: torch.device, clips: int) -> int:
    """How many batches to work on at once: on a CPU one for each of PyTorch's threads, if there are so many clips."""
    return max(1, min(torch.get_num_threads(), clips, MAX_LANES)) if device.type == "cpu" else 1


def in_lanes(
    tasks: Iterable[Task], work: Callable[[Task], Iterable[Result]], lanes: int
) -> Generator[Result, None, None]:
    """Carry out `work` on each task, `lanes` at once, and hand out the results in the order of the tasks.

    PyTorch's threads are divided among the lanes. Closing the generator drops what has not begun, and waits.
    An error of the work is raised here.
    """
    if lanes == 1:
        for task in tasks:
            yield from work(task)
        return
    threads = torch.get_num_threads()
    running: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(lanes, "lane", initializer=torch.set_num_threads, initargs=(max(1, threads // lanes),))
    try:
        for task in tasks:
            running.append(pool.submit(lambda task: list(work(task)), task))
            if len(running) == 2 * lanes:  # some wait, so that none is idle while the oldest is finished
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what a lane sets is also what threads of later begin with
