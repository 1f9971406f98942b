"""Decoding ahead of the model: sources of audio in, normalized clips or faults out.

S: samples.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

import numpy as np

from emotion2vec.audio import SAMPLE_RATE, normalize
from emotion2vec.data.manifests import Fault
from emotion2vec.errors import AudioError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """Audio that can be loaded when its turn comes.

    Attributes:
        index: place in the caller's list, by which results find their way back.
        where: name for messages.
        load: returns (S,) float32 mono at 16,000 Hz, or raises AudioError.
    """

    index: int
    where: str
    load: Callable[[], np.ndarray]


@dataclass(frozen=True, eq=False)
class Clip:
    """A decoded source.

    Attributes:
        index: that of its source.
        where: name for messages.
        waveform: (S,) float32 at 16,000 Hz, normalized over all its samples.
    """

    index: int
    where: str
    waveform: np.ndarray

    @property
    def samples(self) -> int:
        """Length S in samples."""
        return self.waveform.size

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / SAMPLE_RATE


def default_workers() -> int:
    """Threads to decode with: one per processor, at most 8."""
    return min(os.cpu_count() or 1, 8)


def decode(sources: Iterable[Source], *, workers: int, min_samples: int) -> Generator[Clip | Fault, None, None]:
    """Decode sources in threads, a few clips ahead, and yield the results in the order of the sources.

    libsndfile and soxr release Python's lock, so threads decode in parallel.

    Args:
        sources: what to decode.
        workers: number of threads.
        min_samples: shortest clip that the model can use, in samples at 16 kHz.
    """
    waiting: deque[Future[Clip | Fault]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(_decode_one, source, min_samples))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode_one(source: Source, min_samples: int) -> Clip | Fault:
    try:
        waveform = source.load()
        if waveform.size < min_samples:
            raise AudioError(f"too short, {waveform.size} samples at {SAMPLE_RATE} Hz, this model needs {min_samples}")
        return Clip(source.index, source.where, normalize(waveform))
    except AudioError as error:
        return Fault(source.where, str(error).removeprefix(f"{source.where}: "))
    except Exception as error:  # whatever one file does to a decoder must not end a job of many
        return Fault(source.where, f"cannot be decoded: {type(error).__name__}: {error}")


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
