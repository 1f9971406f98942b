"""The order of pretraining's micro-batches: metadata only, a pure function of seed and position."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lhotse.dataset.sampling import DynamicBucketingSampler
from lhotse.dataset.sampling.base import SamplingConstraint
from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

from emotion2vec.audio import SAMPLE_RATE
from emotion2vec.seeding import keyed_seed

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass(frozen=True)
class Position:
    """Where an iteration over micro-batches stands; it can be resumed from here.

    Attributes:
        epoch: epoch, counted from 0.
        batch: micro-batches of that epoch that this rank has consumed.
        index: micro-batches of all epochs that this rank has consumed.
    """

    epoch: int = 0
    batch: int = 0
    index: int = 0


@dataclass(frozen=True)
class Request:
    """One micro-batch to decode: its utterances, and its number over all epochs, counted from 0."""

    cuts: list[Cut]
    index: int
    position: Position
    """Position once it is consumed."""


@dataclass
class CroppedSamples(SamplingConstraint):
    """Bounds utterances × longest utterance, in samples at 16 kHz, where no utterance counts beyond `max_samples`.

    Whole numbers, unlike Lhotse's seconds, so that nothing hangs on how floats add up.
    """

    budget: int
    max_samples: int
    utterances: int = 0
    longest: int = 0

    def measure_length(self, example: Any) -> int:
        """Samples of one cut as it goes into a batch at most."""
        return min(round(example.duration * SAMPLE_RATE), self.max_samples)

    def add(self, example: Any) -> None:
        """Count one more cut."""
        self.longest = max(self.longest, self.measure_length(example))
        self.utterances += 1

    def exceeded(self) -> bool:
        """Whether the batch is over the budget, were it padded to its longest."""
        return self.utterances * self.longest > self.budget

    def close_to_exceeding(self) -> bool:
        """Whether one more utterance as long as the longest would go over the budget."""
        return (self.utterances + 1) * self.longest > self.budget

    def reset(self) -> None:
        """Start a new batch."""
        self.utterances = self.longest = 0


class BatchOrder:
    """Endless micro-batches of one rank: each epoch shuffles all utterances, then buckets them by length."""

    def __init__(
        self,
        cuts: Sequence[Cut],
        constraint: CroppedSamples,
        *,
        buckets: int,
        seed: int,
        start: Position,
        rank: int,
        world_size: int,
    ) -> None:
        self.cuts = cuts
        self.constraint = constraint
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size
        count = min(buckets, len(cuts))
        # Bounds come from all utterances in their given order, so that every epoch and rank has the same.
        self.bins = estimate_duration_buckets(cuts, count, constraint) if count > 1 else []

    def __iter__(self) -> Iterator[Request]:
        """Yield requests from the start position on, over all epochs."""
        position = self.start
        while True:
            sampler = self._epoch(position.epoch)
            for number, batch in enumerate(sampler):
                if number < position.batch:  # resumed: consumed before
                    continue
                after = replace(position, batch=number + 1, index=position.index + 1)
                yield Request(list(batch), index=position.index, position=after)
                position = after
            position = Position(position.epoch + 1, 0, position.index)

    def _epoch(self, epoch: int) -> DynamicBucketingSampler:
        """Sampler of one epoch.

        The shuffle is of the whole corpus, where Lhotse's own would only mix what its buffer holds.
        """
        shuffled = list(self.cuts)
        random.Random(keyed_seed(self.seed, "epoch", epoch)).shuffle(shuffled)
        return DynamicBucketingSampler(
            shuffled,
            constraint=self.constraint,
            duration_bins=self.bins,
            shuffle=False,
            drop_last=False,
            seed=self.seed,
            rank=self.rank,
            world_size=self.world_size,
        )
