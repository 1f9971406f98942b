"""Decoding ahead of the model: sources of audio in, normalized clips or faults out.

S: samples.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from emotion2vec.audio.decode import Note
from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.audio.samples import NORMALIZE_EPS, normalize, not_finite
from emotion2vec.corpora.faults import Fault
from emotion2vec.errors import AudioError
from emotion2vec.model.config import EncoderConfig


@dataclass(frozen=True)
class Undecoded:
    """Audio that can be decoded when its turn comes, more than once if it is long.

    Attributes:
        index: place in the caller's list, by which results find their way back.
        where: name for messages.
        blocks: returns the audio from its start as blocks (S,) float32 mono at 16,000 Hz, or raises AudioError; takes
            `notes`, a list that gets what is to be said of the audio.
    """

    index: int
    where: str
    blocks: Callable[..., Iterator[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Waveform:
    """A decoded source.

    Attributes:
        index: that of its source.
        where: name for messages.
        waveform: (S,) float32 at 16,000 Hz, as the network wants to hear it.
        notes: what is to be said of its audio.
    """

    index: int
    where: str
    waveform: np.ndarray
    notes: tuple[Note, ...] = ()

    @property
    def samples(self) -> int:
        """Length S in samples."""
        return self.waveform.size

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / SAMPLE_RATE


@dataclass(frozen=True, eq=False)
class LongWaveform:
    """A source that is too long to be held: measured in one pass, to be decoded again in another.

    Attributes:
        source: where it comes from.
        samples: length S in samples at 16 kHz.
        mean: what is taken off all samples, their mean or 0.
        scale: what all samples are multiplied by then: whole-file normalization, or 1.
        notes: what is to be said of its audio.
    """

    source: Undecoded
    samples: int
    mean: float
    scale: float
    notes: tuple[Note, ...] = ()

    @property
    def index(self) -> int:
        """That of its source."""
        return self.source.index

    @property
    def where(self) -> str:
        """Name for messages."""
        return self.source.where

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / SAMPLE_RATE

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode it again, as the network wants to hear it."""
        for block in self.source.blocks():
            yield ((block.astype(np.float64) - self.mean) * self.scale).astype(np.float32)


AnyWaveform = Waveform | LongWaveform


@dataclass(frozen=True)
class AudioFault(Fault):
    """A source that cannot be used, and why.

    Attributes:
        index: that of its source.
    """

    index: int


@dataclass(frozen=True)
class Hearing:
    """How a network wants to hear audio.

    Attributes:
        min_samples: shortest clip that it can use, in samples at 16 kHz.
        max_samples: longest clip that is held in memory; of longer ones only the statistics are.
        normalizes: whether audio has zero mean and unit variance.
        eps: what is added to the variance then.
    """

    min_samples: int
    max_samples: int
    normalizes: bool
    eps: float = NORMALIZE_EPS

    @classmethod
    def of(cls, config: EncoderConfig, max_samples: int) -> Hearing:
        """How a network of these dimensions wants to hear audio that is held up to so many samples."""
        return cls(config.grid.samples(1), max_samples, config.normalizes, config.normalize_eps)


class Statistics:
    """Mean and variance of samples that come in blocks, exact to float64 (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, block: np.ndarray) -> None:
        """Count the samples of a block (S,)."""
        if block.size == 0:
            return
        mean = float(block.mean(dtype=np.float64))
        centered = block.astype(np.float64) - mean
        total = self.count + block.size
        delta = mean - self.mean
        self._squares += float(centered @ centered) + delta * delta * self.count * block.size / total
        self.mean += delta * block.size / total
        self.count = total

    @property
    def variance(self) -> float:
        """Mean squared distance from the mean; 0 before anything was counted."""
        return self._squares / self.count if self.count else 0.0

    def scale(self, eps: float) -> float:
        """1 / √(variance + ε), as `emotion2vec.audio.samples.normalize` has it."""
        return 1.0 / math.sqrt(self.variance + eps)


def decode(
    sources: Iterable[Undecoded], *, workers: int, hearing: Hearing
) -> Generator[AnyWaveform | AudioFault, None, None]:
    """Decode sources in threads, a few clips ahead, and yield the results in the order of the sources.

    libsndfile and soxr release Python's lock, so threads decode in parallel.

    Args:
        sources: what to decode.
        workers: number of threads.
        hearing: how the network wants to hear it.
    """
    waiting: deque[Future[AnyWaveform | AudioFault]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(decode_one, source, hearing))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def decode_one(source: Undecoded, hearing: Hearing) -> AnyWaveform | AudioFault:
    """Decode one source, whatever is wrong with it; the arguments are those of `decode`."""
    try:
        notes: list[Note] = []
        statistics, held = _read(source, hearing.max_samples, notes)
        if statistics.count < (least := max(hearing.min_samples, MIN_SAMPLES)):
            raise AudioError(f"too short, {statistics.count} samples at {SAMPLE_RATE} Hz, expected at least {least}")
        if held is None:
            mean, scale = (statistics.mean, statistics.scale(hearing.eps)) if hearing.normalizes else (0.0, 1.0)
            return LongWaveform(source, statistics.count, mean, scale, tuple(notes))
        heard = normalize(held, hearing.eps) if hearing.normalizes else np.ascontiguousarray(held, np.float32)
        return Waveform(source.index, source.where, heard, tuple(notes))
    except Exception as error:  # whatever one file does to a decoder must not end a job of many
        return as_fault(error, source)


def _read(source: Undecoded, max_samples: int, notes: list[Note]) -> tuple[Statistics, np.ndarray | None]:
    """Decode a source: its statistics, and its samples (S,) unless there are more than `max_samples`."""
    statistics, held, bad = Statistics(), [], 0
    for block in source.blocks(notes=notes):
        finite = np.isfinite(block)
        if not finite.all():
            bad += int(np.count_nonzero(~finite))
            block = np.where(finite, block, 0.0)
        statistics.add(block)
        if statistics.count <= max_samples:
            held.append(block)
        else:
            held.clear()
    if bad:
        raise AudioError(not_finite(bad, statistics.count))
    if statistics.count > max_samples:
        return statistics, None
    return statistics, held[0] if len(held) == 1 else np.concatenate(held or [np.zeros(0, np.float32)])


def as_fault(error: Exception, source: Undecoded | LongWaveform) -> AudioFault:
    """What to report of an error that one source caused."""
    if isinstance(error, AudioError):
        return AudioFault(source.where, str(error).removeprefix(f"{source.where}: "), source.index)
    return AudioFault(source.where, f"cannot be decoded: {type(error).__name__}: {error}", source.index)
