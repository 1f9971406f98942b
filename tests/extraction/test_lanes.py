"""Batches side by side on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier, Event

import numpy as np
import pytest
import torch

from emotion2vec import extract_features
from emotion2vec.extraction.lanes import MAX_LANES, in_lanes, lanes_for
from emotion2vec.model.encoder import Emotion2vec

CPU = torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_results_keep_the_order_of_their_tasks() -> None:
    """Every second task waits for the one after it."""
    gates = [Event() for _ in range(10)]

    def work(task: int) -> list[tuple[int, int]]:
        if task % 2 == 0:
            assert gates[task + 1].wait(10)
        gates[task].set()
        return [(task, part) for part in range(task % 3)]

    expected = [(task, part) for task in range(10) for part in range(task % 3)]
    assert list(in_lanes(range(10), work, 2)) == expected


def test_lanes_work_at_the_same_time_and_divide_the_threads(threads: None) -> None:
    torch.set_num_threads(4)
    meeting = Barrier(2, timeout=10)

    def work(_: int) -> list[int]:
        meeting.wait()  # breaks if the lanes take turns
        return [torch.get_num_threads()]

    assert list(in_lanes(range(4), work, 2)) == [2, 2, 2, 2]
    assert torch.get_num_threads() == 4
    assert list(in_lanes(range(2), lambda _: [torch.get_num_threads()], 1)) == [4, 4]


def test_an_error_is_raised_and_no_more_tasks_begin() -> None:
    begun = []

    def work(task: int) -> list[int]:
        begun.append(task)
        if task == 1:
            raise RuntimeError("broken")
        return [task]

    with pytest.raises(RuntimeError, match="broken"):
        list(in_lanes(range(1000), work, 2))
    assert len(begun) < 10


def test_closing_waits_for_what_has_begun() -> None:
    done = []

    def work(task: int) -> list[int]:
        done.append(task)
        return [task]

    stream = in_lanes(range(1000), work, 2)
    assert next(stream) == 0
    stream.close()
    count = len(done)
    assert count < 10 and len(done) == count


def test_the_number_of_lanes(threads: None) -> None:
    torch.set_num_threads(4)
    assert [lanes_for(CPU, clips) for clips in (0, 1, 3, 100)] == [1, 1, 3, 4]
    assert lanes_for(torch.device("cuda"), 100) == 1
    torch.set_num_threads(MAX_LANES + 3)
    assert lanes_for(CPU, 100) == MAX_LANES


def test_features_do_not_depend_on_lanes(model: Emotion2vec, threads: None) -> None:
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(int(samples)).astype(np.float32) for samples in rng.integers(4_000, 20_000, 9)]
    torch.set_num_threads(1)
    alone = extract_features(clips, 16_000, model=model)
    torch.set_num_threads(3)
    together = extract_features(clips, 16_000, model=model)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.frames, other.frames, atol=1e-5)
