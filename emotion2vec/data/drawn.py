"""An order in which utterances are drawn group by group, so that no group owns the updates.

Each draw is a pure function of seed and number, so that a run goes on from any update.

G: groups. N: utterances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from emotion2vec.data.config import SpeechConfig
from emotion2vec.data.order import Position, Request, Stream
from emotion2vec.data.sources import Source
from emotion2vec.seeding import keyed_seed


class Draws:
    """Which utterance comes as which.

    All groups are drawn from equally often: one utterance of each, in random order, then the next. A group gives its
    utterances in one random order after another. With one group this is an epoch after the other.

    Args:
        groups: positions of the utterances of each group, in all sources.
        seed: key of the orders.
    """

    def __init__(self, groups: Sequence[np.ndarray], seed: int) -> None:
        self.groups = groups
        self.seed = seed
        self._last: dict[str, tuple[int, np.ndarray]] = {}

    def at(self, first: int, count: int) -> list[int]:
        """Positions of `count` utterances from draw `first` on, draws counted from 0."""
        return [self._at(number) for number in range(first, first + count)]

    def _at(self, number: int) -> int:
        round_, place = divmod(number, len(self.groups))
        group = int(self._shuffled("groups", round_, len(self.groups))[place])
        lap, place = divmod(round_, len(self.groups[group]))
        return int(self.groups[group][self._shuffled(f"group {group}", lap, len(self.groups[group]))[place]])

    def _shuffled(self, what: str, lap: int, size: int) -> np.ndarray:
        """A random order of so many, which is kept until another lap is asked for."""
        if what not in self._last or self._last[what][0] != lap:
            order = np.random.default_rng(keyed_seed(self.seed, what, lap)).permutation(size)
            self._last[what] = lap, order
        return self._last[what][1]


class DrawnOrder:
    """Endless micro-batches of one rank: an update's utterances are drawn, sorted by length and shared out.

    Lengths meet in micro-batches and not in updates, whose mixture is that of the draws. All ranks plan the same
    update and take turns in it. The last of few utterances may leave a micro-batch smaller than the others.

    Args:
        sources: of which utterances are counted through.
        data: `max_samples` is read.
        stream: which micro-batches are wanted.
        start: position to go on from.
        groups: what is drawn from equally often.
        clips: utterances of an update, of all processes together.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        data: SpeechConfig,
        stream: Stream,
        start: Position,
        *,
        groups: Sequence[np.ndarray],
        clips: int,
    ) -> None:
        self.stream = stream
        self.start = start
        self.clips = clips
        self.draws = Draws(groups, keyed_seed(stream.seed, "draws"))
        totals = [int(source.counts.sum()) for source in sources]
        self.entries = [source.entries([(0, total)]) for source, total in zip(sources, totals, strict=True)]
        self.owner = np.repeat(np.arange(len(sources)), totals)  # (N,)
        self.place = np.concatenate([np.arange(total) for total in totals])  # (N,)
        lengths = np.concatenate([entries["length"] for entries in self.entries])
        self.lengths = np.minimum(lengths, data.max_samples)  # (N,)

    def __iter__(self) -> Iterator[Request]:
        """Yield requests from the start position on."""
        position = self.start
        while True:
            update, number = divmod(position.index, self.stream.accumulate)
            mine = self._shares(update)[self.stream.rank :: self.stream.world_size]
            for drawn, before in mine[number:]:
                index = position.index + 1
                epoch = index // self.stream.accumulate * self.clips // len(self.lengths)
                after = replace(position, epoch=epoch, batch=index, index=index)
                yield self._request(drawn, before, position.index, after)
                position = after

    def _shares(self, update: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every micro-batch, shorter ones first: positions, and how often the update has drawn each before."""
        drawn = np.array(self.draws.at(update * self.clips, self.clips))
        drawn = drawn[np.argsort(self.lengths[drawn], kind="stable")]
        before = np.array([np.count_nonzero(drawn[:number] == one) for number, one in enumerate(drawn)])
        parts = self.stream.world_size * self.stream.accumulate
        return list(zip(np.array_split(drawn, parts), np.array_split(before, parts), strict=True))

    def _request(self, drawn: np.ndarray, before: np.ndarray, index: int, after: Position) -> Request:
        owners = self.owner[drawn]
        numbers = np.unique(owners).tolist()
        parts = [(owner, self.entries[owner][self.place[drawn[owners == owner]]]) for owner in numbers]
        return Request(parts, index, after, [before[owners == owner] for owner in numbers])
