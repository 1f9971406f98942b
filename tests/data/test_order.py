from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice, pairwise

import numpy as np
import pytest

from emotion2vec.data.config import DataConfig
from emotion2vec.data.order import BatchOrder, Position, Request, Stream, epoch_spans, in_step, pack
from emotion2vec.data.sources import Span
from emotion2vec.errors import ManifestError
from emotion2vec.pretrain.config import load_config


class Listed:
    """A source of known lengths, in shards, without audio."""

    def __init__(self, lengths: Sequence[int], shard: int = 10, weight: float = 1.0) -> None:
        self.table = np.zeros(len(lengths), dtype=[("item", "<i4"), ("length", "<i4")])
        self.table["item"], self.table["length"] = np.arange(len(lengths)), lengths
        self.counts = np.array([len(part) for part in np.split(self.table, range(shard, len(lengths), shard))])
        self.weight, self.seconds = weight, sum(lengths) / 16_000
        self.read: list[Span] = []

    def entries(self, spans: Sequence[Span]) -> np.ndarray:
        self.read += spans
        return np.concatenate([self.table[first:stop] for first, stop in spans])

    def load(self, entries: np.ndarray) -> list:
        raise NotImplementedError


def lengths(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(8_000, 40_000, count).tolist()


def order(*sources: Listed, start: Position | None = None, rank: int = 0, world_size: int = 1, **changed) -> BatchOrder:
    settings = {"batch_seconds": 10.0, "min_samples": 0, "max_samples": 32_000, "buckets": 4, "window": 50, **changed}
    stream = Stream(seed=3, rank=rank, world_size=world_size)
    return BatchOrder(sources, DataConfig(**settings), stream, start or Position())


def epoch(iteration: BatchOrder, number: int = 0) -> list[Request]:
    requests = []
    for request in iteration:
        if request.position.epoch > number:
            return requests
        if request.position.epoch == number:
            requests.append(request)
    raise AssertionError


def items(requests: Sequence[Request]) -> list[tuple[int, int]]:
    return [(number, item) for request in requests for number, part in request.parts for item in part["item"].tolist()]


def key(request: Request) -> tuple:
    return request.index, request.position, items([request])


def test_an_epoch_of_several_windows_holds_every_utterance_once() -> None:
    first, second = Listed(lengths(173)), Listed(lengths(91, seed=1), shard=7)
    requests = epoch(order(first, second))
    assert sorted(items(requests)) == [(0, item) for item in range(173)] + [(1, item) for item in range(91)]
    assert {request.position.window for request in requests} == {0, 1, 2, 3, 4}
    for request in requests:
        capped = [min(length, 32_000) for _, part in request.parts for length in part["length"].tolist()]
        assert len(capped) * max(capped) <= 160_000
    windows = [items([r for r in requests if r.position.window == number]) for number in range(5)]
    assert all(30 < len(window) < 80 for window in windows)
    assert all({source for source, _ in window} == {0, 1} for window in windows)


def test_any_position_resumes_and_reads_its_own_window_only() -> None:
    whole = list(islice(order(Listed(lengths(173)), Listed(lengths(91, seed=1))), 90))
    assert whole[-1].position.epoch == 1
    for stop in range(0, 90, 7):
        sources = Listed(lengths(173)), Listed(lengths(91, seed=1))
        place = whole[stop - 1].position if stop else None
        resumed = list(islice(order(*sources, start=place), 3))
        assert [key(request) for request in resumed] == [key(request) for request in whole[stop : stop + 3]]
        assert sum(last - first for source in sources for first, last in source.read) < 173


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_take_turns_without_duplicates_and_end_windows_together(world_size: int) -> None:
    ranks = [epoch(order(Listed(lengths(173)), rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({tuple(request.position for request in rank) for rank in ranks}) == 1
    assert sorted(item for rank in ranks for _, item in items(rank)) == list(range(173))


def test_ranks_get_similar_lengths_at_the_same_time() -> None:
    settings = {"window": 2_000, "buckets": 20, "world_size": 7}
    ranks = [epoch(order(Listed(lengths(1_500)), rank=rank, **settings)) for rank in range(7)]
    longest = np.array([[max(part["length"].max() for _, part in request.parts) for request in rank] for rank in ranks])
    assert np.median(np.ptp(longest, axis=0)) < 0.2 * np.ptp(longest)


def test_single_utterances_are_repeated_rather_than_a_rank_left_without() -> None:
    ranks = [epoch(order(Listed([32_000] * 3), batch_seconds=2, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [len(rank) for rank in ranks] == [2, 2]
    assert set(items(ranks[0]) + items(ranks[1])) == {(0, 0), (0, 1), (0, 2)}


@pytest.mark.parametrize("weight", [0.3, 0.5, 1.0, 2.0, 2.25])
def test_a_weight_is_passes_per_epoch(weight: float) -> None:
    counts = np.array([10, 1, 7, 0, 12, 10])
    seen: Counter[int] = Counter()
    for number in range(20):
        spans = epoch_spans(counts, weight, number, seed=5)
        found = [item for first, stop in spans for item in range(first, stop)]
        assert len(found) == round((number + 1) * weight * 40) - round(number * weight * 40)
        seen.update(found)
        # Counts differ by one at most at any time: a pass ends before the next begins.
        assert max(seen.values()) - min(seen[item] for item in range(40)) <= 1
    assert sum(seen.values()) == round(20 * weight * 40)
    ends = np.cumsum(counts)
    assert all(
        np.searchsorted(ends, first, "right") == np.searchsorted(ends, stop - 1, "right") for first, stop in spans
    )


def test_weights_change_shares() -> None:
    requests = epoch(order(Listed(lengths(100), weight=2.0), Listed(lengths(100, seed=1), weight=0.5)), 4)
    assert Counter(number for number, _ in items(requests)) == {0: 200, 1: 50}


def test_a_rare_source_may_have_no_turn_in_an_epoch() -> None:
    requests = list(islice(order(Listed([16_000], weight=0.25)), 3))
    assert [request.position.epoch for request in requests] == [2, 5, 10]  # 0.75, 1.5 and 2.75 round up


def test_short_utterances_are_passed_over() -> None:
    mixed = [8_000, 4_000] * 30
    assert sorted(item for _, item in items(epoch(order(Listed(mixed), min_samples=8_000)))) == list(range(0, 60, 2))
    with pytest.raises(ManifestError, match=r"no utterance of epoch 0 is long enough, expected .* 9000 samples"):
        next(iter(order(Listed(mixed), min_samples=9_000)))


def test_packing_fills_the_budget_with_similar_lengths() -> None:
    long = np.array(lengths(2_000))
    packed = pack(long, 400_000, 20, np.random.default_rng(0))
    assert sorted(np.concatenate(packed).tolist()) == list(range(2_000))
    assert all(len(batch) * long[batch].max() <= 400_000 for batch in packed)
    assert kept(long, packed) > 0.99  # cropping to the shortest loses little
    assert sum(len(batch) * long[batch].min() for batch in packed) / (len(packed) * 400_000) > 0.9  # batches are full
    assert [b.tolist() for b in packed] != [b.tolist() for b in pack(long, 400_000, 20, np.random.default_rng(1))]
    assert pack(np.array([], dtype=np.int64), 400_000, 20, np.random.default_rng(0)) == []


def kept(long: np.ndarray, packed: Sequence[np.ndarray]) -> float:
    """Share of the audio that is left when every batch is cropped to its shortest."""
    return sum(len(batch) * long[batch].min() for batch in packed) / long.sum()


def meet_again(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """Share of the pairs of utterances of one batch that are in one batch the next time too."""
    place = {item: number for number, batch in enumerate(second) for item in batch.tolist()}
    together = [[place[item] for item in batch.tolist()] for batch in first]
    pairs = sum(len(batch) * (len(batch) - 1) for batch in together)
    return sum(count * (count - 1) for batch in together for count in Counter(batch).values()) / pairs


@pytest.mark.parametrize(
    ("corpus", "mean", "sigma", "count", "longest"),
    [("iemocap", 4.5, 0.65, 5_531, 34), ("meld", 3.2, 0.8, 13_000, 40), ("mosei", 7.3, 0.6, 23_000, 100)],
)
def test_cropping_keeps_the_audio_and_utterances_meet_others(
    corpus: str, mean: float, sigma: float, count: int, longest: float
) -> None:
    drawn = np.random.default_rng(0).lognormal(np.log(mean) - sigma**2 / 2, sigma, count).clip(0.5, longest)
    long = np.minimum((16_000 * drawn).astype(np.int64), 320_000)
    buckets = load_config(None, ["data.train=x", "run.dir=x"]).data.buckets
    rng = np.random.default_rng(1)
    first, second = (pack(long, 600_000, buckets, rng) for _ in range(2))
    assert kept(long, first) >= 0.99, corpus
    assert meet_again(first, second) < 0.4, corpus
    shares = np.concatenate([long[batch].min() / long[batch] for batch in first])
    assert np.quantile(shares, 0.05) > 0.95  # nobody but the few longest loses much


def test_utterances_of_one_length_meet_whatever_their_place_in_the_list() -> None:
    first, second = (pack(np.full(1_000, 32_000), 320_000, 20, np.random.default_rng(seed)) for seed in (0, 1))
    assert meet_again(first, second) < 0.02
    assert np.mean([np.ptp(batch) for batch in first]) > 500


def test_fewer_buckets_mix_more() -> None:
    long = np.array(lengths(2_000))
    found = []
    for buckets in (2, 20):
        rng = np.random.default_rng(0)
        found.append(meet_again(*(pack(long, 400_000, buckets, rng) for _ in range(2))))
    assert found[0] < 0.3 * found[1]


@pytest.mark.parametrize("buckets", [1, 4, 20])
def test_packing_leaves_no_room_for_the_next_utterance(buckets: int) -> None:
    found = np.array(lengths(500))
    batches = pack(found, 200_000, buckets, np.random.default_rng(0))
    for batch, following in pairwise(batches):
        longest = found[[*batch, following[0]]].max()
        assert longest * (len(batch) + 1) > 200_000 >= found[batch].max() * len(batch)


def test_what_is_longer_than_a_crop_takes_the_room_of_a_crop() -> None:
    requests = epoch(order(Listed([320_000] * 50)))
    assert {len(items([request])) for request in requests} == {5}  # 160,000 samples, of crops of 32,000


def test_windows_and_epochs_are_shuffled_each_in_a_way_of_its_own() -> None:
    iteration = order(Listed([8_000] * 100, shard=50))  # two windows of a shard each
    ways = [
        [item % 50 for _, item in items([r for r in epoch(iteration, number) if r.position.window == window])]
        for number in (0, 1)
        for window in (0, 1)
    ]
    assert all(sorted(way) == list(range(50)) for way in ways) and len(set(map(tuple, ways))) == 4


@pytest.mark.parametrize("weight", [0.5, 1, 2, 3])
def test_draws_of_a_window_are_counted_from_nothing(weight: float) -> None:
    seen: Counter[int] = Counter()
    told: Counter[tuple[int, int]] = Counter()
    for request in epoch(order(Listed(lengths(60), weight=weight), window=1_000)):
        for (_, part), before in zip(request.parts, request.draws or [], strict=True):
            told.update(zip(part["item"].tolist(), before.tolist(), strict=True))
            seen.update(part["item"].tolist())
    assert told == Counter((item, draw) for item, count in seen.items() for draw in range(count))
    assert max(seen.values()) == max(1, weight)


def test_in_step_splits_the_largest() -> None:
    found = in_step([np.array([0]), np.array([1, 2, 3, 4]), np.array([5, 6])], 4, np.random.default_rng(0))
    assert sorted(len(batch) for batch in found) == [1, 2, 2, 2]


@pytest.mark.parametrize("world_size", [2, 3, 4, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("size", [1, 4])
def test_in_step_gives_every_rank_as_many_batches_and_loses_none(count: int, size: int, world_size: int) -> None:
    """Utterances come once where there are enough of them, and fewer than `world_size` come twice where not."""
    packed = np.split(np.arange(count * size), count)
    found = in_step(packed, world_size, np.random.default_rng(0))
    assert found and len(found) % world_size == 0 and min(map(len, found)) > 0
    seen = Counter(np.concatenate(found).tolist())
    assert seen.keys() == set(range(count * size))
    splittable = count * size >= -(-count // world_size) * world_size
    repeated = seen.total() - count * size
    assert repeated == (0 if splittable else -(count * size) % world_size)
    assert len(found) == -(-count // world_size) * world_size
    assert [batch.tolist() for batch in packed] == np.arange(count * size).reshape(count, size).tolist()


@pytest.mark.parametrize(
    ("numbers", "faults"),
    [
        ({}, []),
        ({"accumulate": 0}, ["accumulate is 0, expected 1 or more"]),
        ({"accumulate": 1, "rank": 2, "world_size": 3}, []),
        ({"rank": 3, "world_size": 3}, ["rank is 3, expected 0 to 2"]),
        ({"rank": -1}, ["rank is -1, expected 0 to 0"]),
        ({"rank": 1, "accumulate": -1}, ["accumulate is -1, expected 1 or more", "rank is 1, expected 0 to 0"]),
    ],
)
def test_wrong_numbers_of_a_stream_are_told(numbers: dict[str, int], faults: list[str]) -> None:
    assert Stream(seed=0, **numbers).faults() == faults


def test_a_stream_of_which_nothing_is_said_is_that_of_one_process_that_crops_anywhere() -> None:
    stream = Stream(seed=0)
    assert (stream.accumulate, stream.rank, stream.world_size, stream.crop_step) == (1, 0, 1, 1)
    assert stream.normalize and stream.clean is None and not stream.pad
    assert next(iter(order(Listed([16_000])))).index == 0
