"""Long audio in overlapping windows: where they lie, and which frames each gives.

Windows start on the frame grid of the whole file, so every frame sees the samples that it would see in one pass; only
what the Transformer attends to, and the positional convolutions near an edge, end at the window. Each frame is taken
from the window that it is deepest inside of.

S: samples of the file. T: frames of the file. W: frames of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE, FrameGrid
from emotion2vec.errors import AudioError
from emotion2vec.settings import option


@dataclass(frozen=True)
class Chunking:
    """How long audio is cut; audio up to the length of a window is encoded in one pass."""

    chunk_seconds: float = option(40.0, "Longer audio is encoded in windows of this, in s.")
    chunk_overlap: float = option(10.0, "What neighbouring windows share, in s.")

    def faults(self) -> list[str]:
        """What is wrong: windows are shorter than a second, or do not advance by at least a tenth of their length."""
        seconds, overlap = self.chunk_seconds, self.chunk_overlap
        faults = []
        if not 1 <= seconds < float("inf"):
            faults.append(f"chunk_seconds is {seconds!r}, expected at least 1 s")
        if not 0 <= overlap <= 0.9 * seconds:
            faults.append(f"chunk_overlap is {overlap!r}, expected 0 to 0.9 of chunk_seconds ({seconds})")
        return faults

    def within(self, seconds: float) -> Chunking:
        """The same with windows of at most so many s, which share a third at most; 0 for any length."""
        if not seconds or self.chunk_seconds <= seconds:
            return self
        return Chunking(seconds, min(self.chunk_overlap, seconds / 3))

    @property
    def samples(self) -> int:
        """Longest audio that is encoded in one pass, in samples."""
        return int(self.chunk_seconds * SAMPLE_RATE)


@dataclass(frozen=True)
class Window:
    """A window of a file.

    Attributes:
        start: first sample.
        samples: length in samples.
        skip: frames at its start that an earlier window gives.
        keep: frames that it gives.
    """

    start: int
    samples: int
    skip: int
    keep: int


def plan_windows(samples: int, chunking: Chunking, grid: FrameGrid) -> list[Window]:
    """Lay windows of equal length over S samples; together they give each of the T frames once.

    Where frames see something around the audio's ends, the last window has all samples up to its end.
    """
    total = grid.count(samples)
    width = max(2, grid.count(chunking.samples))  # W
    if total <= width:
        return [Window(0, samples, 0, total)]
    step = max(1, width - int(chunking.chunk_overlap * SAMPLE_RATE) // grid.stride)
    starts = [*range(0, total - width, step), total - width]
    cuts = [0, *((left + width + right) // 2 for left, right in pairwise(starts)), total]
    windows = [
        Window(first * grid.stride, grid.samples(width), begin - first, end - begin)
        for first, begin, end in zip(starts, cuts, cuts[1:], strict=False)
    ]
    if not grid.exact:
        windows[-1] = replace(windows[-1], samples=samples - windows[-1].start)
    return windows


def cut_windows(blocks: Iterable[np.ndarray], windows: Iterable[Window]) -> Iterator[np.ndarray]:
    """Cut the samples of each window (S,) out of a stream of blocks, holding only what the next windows need.

    Raises:
        AudioError: the stream ends before the last window.
    """
    held = np.zeros(0, np.float32)
    offset = 0
    stream = iter(blocks)
    for window in windows:
        end = window.start + window.samples
        parts = [held[max(0, window.start - offset) :]]
        at = max(offset, window.start)
        position = offset + held.size
        while position < end:
            block = next(stream, None)
            if block is None:
                raise AudioError(f"ends after {position} samples, but had at least {end} before; did the file change?")
            parts.append(block[max(0, at - position) :])
            position += block.size
        held = np.concatenate(parts)
        offset = at
        yield held[: window.samples]
