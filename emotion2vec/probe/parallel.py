"""Folds side by side: each in a thread of its own with single-threaded operations.

The matrices of a probe are too small to gain from several threads each, and NumPy, PyTorch and scikit-learn release
Python's lock while they work, so threads keep all cores busy and share the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def run_parallel(jobs: Sequence[Callable[[], Result]], device: str) -> Iterator[Result]:
    """Run jobs on as many threads as PyTorch may use (OMP_NUM_THREADS limits it), and yield results in order.

    On devices other than the CPU the jobs run one after another. An error in a job is raised here, after the jobs that
    run already; the others are cancelled.
    """
    import torch
    from threadpoolctl import threadpool_limits

    allowed = torch.get_num_threads()
    workers = min(allowed, len(jobs)) if device == "cpu" else 1
    if workers <= 1:
        yield from (job() for job in jobs)
        return
    with threadpool_limits(1), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(lambda job: job(), jobs)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(allowed)
