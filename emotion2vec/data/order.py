"""The order of pretraining's micro-batches: a pure function of seed and position, planned window by window.

N: utterances of a window. Only the lengths of one window are ever in memory; no audio is touched here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.data.config import DataConfig
from emotion2vec.data.sources import Source, Span
from emotion2vec.data.storage import with_retries
from emotion2vec.errors import ManifestError
from emotion2vec.seeding import keyed_seed

BUCKETED_RATIO = 4 / 3
"""Lengths that differ by this factor have `DataConfig.buckets` buckets between them."""


@dataclass(frozen=True)
class Position:
    """Where an iteration over micro-batches stands; it can be resumed from here.

    Attributes:
        epoch: epoch, counted from 0.
        batch: micro-batches of that window that this rank has consumed.
        index: micro-batches of all epochs that this rank has consumed.
        window: window of the epoch, counted from 0.
    """

    epoch: int = 0
    batch: int = 0
    index: int = 0
    window: int = 0


@dataclass(frozen=True)
class Request:
    """One micro-batch to decode, numbered over all epochs from 0: per source, its entries of the utterances."""

    parts: list[tuple[int, np.ndarray]]
    index: int
    position: Position
    """Position once it is consumed."""
    draws: list[np.ndarray] | None = None
    """Per part, how often its window has drawn each utterance before; None where none is drawn again."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Which micro-batches a process sees.

    Attributes:
        seed: key of order, crops and augmentation.
        accumulate: micro-batches of one optimizer update on each process; crops are keyed by the update.
        rank: this process among `world_size`, which take turns in one common order.
        world_size: number of processes; all of them see equally many micro-batches per window.
        normalize: whether each utterance is brought to zero mean and unit variance, as most networks want it.
        crop_step: crops begin at multiples of so many samples of their utterance.
        clean: whether the same crops are carried undistorted too, and whether these are normalized; None for neither.
        pad: whether utterances of a micro-batch keep their lengths, with zeros behind them, or are cropped to the
            shortest.
    """

    seed: int
    accumulate: int = 1
    rank: int = 0
    world_size: int = 1
    normalize: bool = True
    crop_step: int = 1
    clean: bool | None = None
    pad: bool = False

    def faults(self) -> list[str]:
        """What is wrong with the numbers."""
        faults = [] if self.accumulate >= 1 else [f"accumulate is {self.accumulate}, expected 1 or more"]
        if not 0 <= self.rank < self.world_size:
            faults.append(f"rank is {self.rank}, expected 0 to {self.world_size - 1}")
        return faults


class BatchOrder:
    """Endless micro-batches of one rank.

    An epoch takes every source as often as its weight says, in whole shards of random order, mixes the shards of all
    sources, and groups them into windows. Within a window all utterances are shuffled among those of about their
    length and packed. All ranks plan the same window and take turns in it, so that they stay in step.
    """

    def __init__(self, sources: Sequence[Source], data: DataConfig, stream: Stream, start: Position) -> None:
        self.sources = sources
        self.data = data
        self.stream = stream
        self.start = start

    def __iter__(self) -> Iterator[Request]:
        """Yield requests from the start position on, over all epochs.

        Raises:
            ManifestError: a whole epoch holds nothing that is long enough.
            StorageError: the lengths cannot be read.
        """
        position = self.start
        while True:
            windows = self.windows(position.epoch)
            entered = position
            for window in range(entered.window, len(windows)):
                first = entered.batch if window == entered.window else 0  # resumed: consumed before
                found, mine = self._plan(entered.epoch, window, windows[window])
                for number, batch in enumerate(mine[first:], start=first + 1):
                    after = Position(entered.epoch, number, position.index + 1, window)
                    yield Request(found.parts(batch), position.index, after, found.draws(batch))
                    position = after
            if windows and position == Position(entered.epoch, 0, position.index):
                raise ManifestError(
                    f"no utterance of epoch {entered.epoch} is long enough, expected at least one of "
                    f"{self.data.min_samples} samples ({self.data.min_samples / SAMPLE_RATE:g} s)"
                )
            position = Position(entered.epoch + 1, 0, position.index)

    def windows(self, epoch: int) -> list[list[tuple[int, Span]]]:
        """Shards of an epoch, or parts of them, as (source, span), grouped into windows of similar size."""
        pieces = [
            (number, span)
            for number, source in enumerate(self.sources)
            for span in epoch_spans(source.counts, source.weight, epoch, keyed_seed(self.stream.seed, "source", number))
        ]
        if not pieces:  # small weights: nobody's turn in this epoch
            return []
        shuffled = np.random.default_rng(keyed_seed(self.stream.seed, "epoch", epoch)).permutation(len(pieces))
        pieces = [pieces[number] for number in shuffled]
        sizes = np.array([stop - first for _, (first, stop) in pieces], dtype=np.int64)
        total = int(sizes.sum())
        count = max(1, round(total / self.data.window))
        window = (np.cumsum(sizes) - sizes) * count // total
        bounds = np.searchsorted(window, np.arange(count + 1))
        return [pieces[first:stop] for first, stop in pairwise(bounds) if first < stop]

    def _plan(self, epoch: int, window: int, pieces: list[tuple[int, Span]]) -> tuple[_Window, list[np.ndarray]]:
        """Utterances of a window, and this rank's micro-batches of it."""
        numbers = sorted({number for number, _ in pieces})
        spans = {number: [span for source, span in pieces if source == number] for number in numbers}
        entries = {n: with_retries(partial(self.sources[n].entries, spans[n])) for n in numbers}
        found = _Window(entries, {n: _times_before(spans[n]) for n in numbers})
        kept = np.flatnonzero(found.lengths >= self.data.min_samples)
        rng = np.random.default_rng(keyed_seed(self.stream.seed, "window", epoch, window))
        capped = np.minimum(found.lengths[kept], self.data.max_samples)
        packed = pack(capped, self.data.budget, self.data.buckets, rng)
        mine = in_step(packed, self.stream.world_size, rng)[self.stream.rank :: self.stream.world_size]
        return found, [kept[batch] for batch in mine]


class _Window:
    """Entries of the utterances of a window by source, and the utterances counted over all of them."""

    def __init__(self, entries: dict[int, np.ndarray], before: dict[int, np.ndarray]) -> None:
        self.entries = entries
        self.before = before
        sizes = [len(found) for found in entries.values()]
        self.lengths = np.concatenate([found["length"] for found in entries.values()]).astype(np.int64)  # (N,)
        self.owner = np.repeat(list(entries), sizes)  # (N,)
        self.place = np.concatenate([np.arange(size) for size in sizes])  # (N,)

    def parts(self, batch: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Entries of some utterances, source by source."""
        owner, place = self.owner[batch], self.place[batch]
        return [(number, self.entries[number][place[owner == number]]) for number in np.unique(owner).tolist()]

    def draws(self, batch: np.ndarray) -> list[np.ndarray]:
        """How often each of some utterances was drawn before, in the order of `parts`."""
        owner, place = self.owner[batch], self.place[batch]
        return [self.before[number][place[owner == number]] for number in np.unique(owner).tolist()]


def _times_before(spans: Sequence[Span]) -> np.ndarray:
    """Of every utterance of some spans (N,), how often it is in them further ahead: 0 where a pass holds it once."""
    items = np.concatenate([np.arange(first, stop) for first, stop in spans])
    order = np.argsort(items, kind="stable")
    ranked = items[order]
    before = np.empty(len(items), dtype=np.int64)
    before[order] = np.arange(len(items)) - np.searchsorted(ranked, ranked, side="left")
    return before


def epoch_spans(counts: np.ndarray, weight: float, epoch: int, seed: int) -> list[Span]:
    """Stretches of utterances that a source gives to an epoch.

    Pass after pass over the source, each in its own order of shards, is laid end to end, and an epoch takes the next
    `weight` passes of it: with a weight of 0.5, two epochs see every utterance once.

    Args:
        counts: utterances of each shard.
        weight: passes per epoch.
        epoch: epoch, counted from 0.
        seed: key of the orders.
    """
    total = int(counts.sum())
    first, stop = round(epoch * weight * total), round((epoch + 1) * weight * total)
    starts = np.cumsum(counts) - counts
    spans: list[Span] = []
    for lap in range(first // total, -(-stop // total)):
        order = np.random.default_rng(keyed_seed(seed, "pass", lap)).permutation(len(counts))
        ends = np.cumsum(counts[order]) + lap * total
        for shard, end in zip(order.tolist(), ends.tolist(), strict=True):
            begin = end - int(counts[shard])
            low, high = max(begin, first), min(end, stop)
            if low < high:
                origin = int(starts[shard]) - begin
                spans.append((low + origin, high + origin))
    return spans


def pack(lengths: np.ndarray, budget: int, buckets: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Pack utterances of similar length into micro-batches of at most `budget` samples, count × longest.

    Utterances are sorted by length, after each has been moved up by a random part of a bucket; so two may meet whose
    lengths differ by less than a bucket, wherever its edges are. A bucket is a ratio of lengths and not a number of
    utterances, because a micro-batch is cropped to its shortest: that costs some 0.5 % of the audio with buckets of
    1.5 %, whatever the lengths are. Only the last micro-batch is left unfilled.

    Args:
        lengths: (N,) in samples.
        budget: in samples, at least the longest length.
        buckets: how many of them lie between a length and a third more; 20 are 1.5 % wide.
        rng: draws the order.

    Returns:
        Indices into `lengths`, by rising length.
    """
    if not len(lengths):
        return []
    bucket = np.log(np.maximum(lengths, 1)) / np.log(BUCKETED_RATIO) * buckets  # (N,)
    ordered = np.argsort(bucket + rng.random(len(lengths)), kind="stable")
    bounds, longest = [0], 0
    for number, length in enumerate(lengths[ordered].tolist()):
        longest = max(longest, length)
        if longest * (number - bounds[-1] + 1) > budget:
            bounds.append(number)
            longest = length
    return [ordered[first:stop] for first, stop in pairwise([*bounds, len(ordered)])]


def in_step(packed: Sequence[np.ndarray], world_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Order micro-batches so that ranks which take turns get equally many, and of similar length at the same time.

    The largest are split until their number is a multiple of the ranks; only where all hold a single utterance are
    some repeated instead.
    """
    batches = list(packed)
    while len(batches) % world_size:
        largest = max(range(len(batches)), key=lambda number: len(batches[number]))
        if len(batches[largest]) == 1:
            missing = -len(batches) % world_size
            batches += [batches[number % len(packed)] for number in range(missing)]
            break
        batches[largest : largest + 1] = np.array_split(batches[largest], 2)
    steps = rng.permutation(len(batches) // world_size)
    return [batches[step * world_size + rank] for step in steps for rank in range(world_size)]
