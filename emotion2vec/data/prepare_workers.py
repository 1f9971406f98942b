"""Shards written by several processes, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data.config import PrepareOptions
from emotion2vec.data.prepare_progress import PrepareProgress
from emotion2vec.data.prepare_report import PrepareReport
from emotion2vec.data.shard_writer import ShardSummary, read_shard_summary, write_shard
from emotion2vec.data.workers import outlive_signals, signals_held
from emotion2vec.errors import StorageError
from emotion2vec.stopping import Interrupts


def write_shards(
    shards: Sequence[Sequence[Utterance]],
    folder: Path,
    options: PrepareOptions,
    progress: Callable[[], PrepareProgress],
) -> int:
    """Write the shards that are not there yet; returns how many were.

    Raises:
        StorageError: a process was killed.
    """
    todo = []
    done = PrepareReport()
    for number in range(len(shards)):
        summary = read_shard_summary(folder, number)
        if summary is None:
            todo.append(number)
        else:
            done.add(summary)
    resumed = len(shards) - len(todo)
    if not todo:
        return resumed
    import lhotse.shar.utils  # noqa: F401  # once, before the workers are forked

    size = min(options.workers or os.cpu_count() or 1, len(shards))
    stop, processed = multiprocessing.Event(), multiprocessing.Value("q", done.utterances + len(done.faults))
    pool = ProcessPoolExecutor(size, initializer=_start_worker, initargs=(stop, processed))
    with signals_held():  # until they can tell who sent them
        futures = [pool.submit(_write_in_worker, number, shards[number], folder, options) for number in todo]
    with Interrupts() as interrupts:  # raised while a lock of the pool is taken they would leave it locked for ever
        try:
            with closing(progress()) as bar:
                _collect(futures, done, lambda: bar.show(processed.value, done.seconds, len(done.faults)), interrupts)
        except BrokenProcessPool as error:
            raise StorageError(
                f"{folder}: a process that wrote shards was killed (out of memory?); the same command continues"
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    interrupts.raise_caught()
    return resumed


def _collect(futures: Sequence[Future], done: PrepareReport, show: Callable[[], None], interrupts: Interrupts) -> None:
    """Count shards as they are finished, and show how far it is in between, until all are or a signal comes."""
    pending = set(futures)
    while pending and interrupts.caught is None:
        finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in finished:
            summary = future.result()
            if summary is not None:
                done.add(summary)
        show()


_stop: Event | None = None
_processed: Any = None


def _start_worker(stop: Event, processed: Any) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, and end with it even if it is killed."""
    global _stop, _processed
    _stop, _processed = stop, processed
    outlive_signals(0)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _write_in_worker(
    number: int, utterances: Sequence[Utterance], folder: Path, options: PrepareOptions
) -> ShardSummary | None:
    return write_shard(number, utterances, folder, options, _next_or_stop)


def _next_or_stop() -> bool:
    """Count one more utterance, and tell whether to stop."""
    assert _stop is not None
    with _processed.get_lock():
        _processed.value += 1
    return _stop.is_set()
