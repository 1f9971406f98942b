"""Folds side by side: each in a thread of its own with single-threaded operations.

The matrices of a probe are too small to gain from several threads each, and NumPy, PyTorch and scikit-learn release
Python's lock while they work, so threads keep all cores busy and share the features.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

_thread = threading.local()


class JobStopped(Exception):
    """Raised in a job whose result nobody waits for any more."""


def stop_if_asked() -> None:
    """End this job if the others are given up; long jobs call it in their loops, and may call it anywhere.

    Raises:
        JobStopped: they are.
    """
    stop = getattr(_thread, "stop", None)
    if stop is not None and stop.is_set():
        raise JobStopped


def run_parallel(jobs: Sequence[Callable[[], Result]], device: str) -> Iterator[Result]:
    """Run jobs on as many threads as PyTorch may use (OMP_NUM_THREADS limits it), and yield results in order.

    On devices other than the CPU the jobs run one after another. An error in a job, or an interrupt, is raised here at
    once: jobs that wait are cancelled, and those that run end at their next `stop_if_asked`.
    """
    import torch
    from threadpoolctl import threadpool_limits

    from emotion2vec.devices import is_host

    allowed = torch.get_num_threads()
    workers = min(allowed, len(jobs)) if is_host(torch.device(device)) else 1
    if workers <= 1:
        yield from (job() for job in jobs)
        return
    stop = threading.Event()

    def begin() -> None:
        torch.set_num_threads(1)
        _thread.stop = stop

    pool = ThreadPoolExecutor(workers, initializer=begin)
    try:
        with threadpool_limits(1):
            yield from pool.map(lambda job: job(), jobs)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        torch.set_num_threads(allowed)
