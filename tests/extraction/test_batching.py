from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from emotion2vec.extraction.encode.batching import POOL_BATCHES, make_batches
from emotion2vec.extraction.sources.decoding import AudioFault, Waveform


def clips_of(lengths: list[int]) -> list[Waveform]:
    return [Waveform(index, str(index), np.zeros(length, np.float32)) for index, length in enumerate(lengths)]


def batched(lengths: list[int], batch_seconds: float, padded: bool) -> list[list[Waveform]]:
    batches = list(make_batches(clips_of(lengths), batch_seconds=batch_seconds, padded=padded))
    assert all(isinstance(batch, list) for batch in batches)
    return [batch for batch in batches if isinstance(batch, list)]


RANDOM = np.random.default_rng(0).integers(400, 16_000, 500).tolist()
FEW_LENGTHS = np.random.default_rng(0).choice([4000, 8000, 8001], 500).tolist()


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("lengths", [RANDOM, FEW_LENGTHS, [], [400], [64_000] * 3])
def test_every_clip_is_in_one_batch_that_fits(lengths: list[int], padded: bool) -> None:
    batches = batched(lengths, 2.0, padded)
    assert sorted(clip.index for batch in batches for clip in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(clip.samples for clip in batch) <= 32_000
        assert padded or len({clip.samples for clip in batch}) == 1


def test_equal_lengths_fill_batches() -> None:
    sizes = [len(batch) for batch in batched([8000] * 10, 2.0, padded=False)]
    assert sizes == [4, 4, 2]


def test_neighbours_in_length_waste_little() -> None:
    def padding_share(batches: list[list[Waveform]]) -> float:
        padded = sum(len(batch) * max(clip.samples for clip in batch) for batch in batches)
        return 1 - sum(RANDOM) / padded

    in_order = clips_of(RANDOM)
    assert padding_share([in_order[start : start + 8] for start in range(0, 500, 8)]) > 0.3
    assert padding_share(batched(RANDOM, 8.0, padded=True)) < 0.15


def test_only_a_pool_is_held_and_the_oldest_leaves_it() -> None:
    taken: list[Waveform] = []

    def stream() -> Iterator[Waveform]:
        for clip in clips_of(RANDOM):
            taken.append(clip)
            yield clip

    batch_seconds = 2.0
    left: set[int] = set()
    for batch in make_batches(stream(), batch_seconds=batch_seconds, padded=True):
        assert isinstance(batch, list)
        if len(taken) < len(RANDOM):
            oldest = min(clip.index for clip in taken if clip.index not in left)
            assert oldest in {clip.index for clip in batch}
            held = sum(clip.samples for clip in taken if clip.index not in left)
            assert 0 <= held - POOL_BATCHES * batch_seconds * 16_000 < 16_000
        left |= {clip.index for clip in batch}


def test_faults_pass_at_once() -> None:
    clips = clips_of([400, 500])
    fault = AudioFault("x.wav", "broken", 0)
    assert list(make_batches([clips[0], fault, clips[1]], batch_seconds=1, padded=True)) == [
        fault,
        [clips[1], clips[0]],
    ]
