from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator

import numpy as np
import pytest
import torch

from emotion2vec.errors import AudioError
from emotion2vec.extraction.encode.lanes import in_background
from emotion2vec.extraction.sources.decoding import AudioFault, Hearing, Undecoded, Waveform, decode


def source(index: int, samples: int = 500, delay: float = 0.0) -> Undecoded:
    def blocks(notes: object = None) -> Iterator[np.ndarray]:
        time.sleep(delay)
        yield from np.array_split(np.random.default_rng(index).standard_normal(samples).astype(np.float32), 3)

    return Undecoded(index, f"file {index}", blocks)


def failing(index: int, error: Exception) -> Undecoded:
    def blocks(notes: object = None) -> Iterator[np.ndarray]:
        raise error

    return Undecoded(index, f"file {index}", blocks)


def test_results_come_in_the_order_of_the_sources() -> None:
    sources = [source(index, delay=0.02 * (index % 3 == 0)) for index in range(10)]
    clips = list(decode(sources, workers=3, hearing=Hearing(400, 10_000, normalizes=True)))
    assert [clip.index for clip in clips if isinstance(clip, Waveform)] == list(range(10))


def test_clips_are_normalized() -> None:
    (clip,) = decode([source(3)], workers=1, hearing=Hearing(400, 10_000, normalizes=True))
    assert isinstance(clip, Waveform)
    expected = torch.nn.functional.layer_norm(torch.from_numpy(np.concatenate(list(source(3).blocks()))), (500,))
    np.testing.assert_allclose(clip.waveform, expected.numpy(), atol=1e-5)
    assert clip.seconds == 500 / 16_000


def test_every_kind_of_failure_is_a_fault_of_its_file_alone() -> None:
    sources = [
        source(0),
        failing(1, AudioError("file 1: cannot be decoded")),
        failing(2, ValueError("embedded null byte")),
        failing(3, MemoryError()),
        source(4, samples=399),
        source(5),
    ]
    results = list(decode(sources, workers=2, hearing=Hearing(400, 10_000, normalizes=True)))
    assert [type(result) for result in results] == [Waveform, AudioFault, AudioFault, AudioFault, AudioFault, Waveform]
    assert results[1] == AudioFault("file 1", "cannot be decoded", 1)
    assert results[2] == AudioFault("file 2", "cannot be decoded: ValueError: embedded null byte", 2)
    assert "MemoryError" in str(results[3])
    assert results[4] == AudioFault("file 4", "too short, 399 samples at 16000 Hz, expected at least 400", 4)


def test_decoding_runs_only_a_little_ahead() -> None:
    asked: list[int] = []

    def sources() -> Generator[Undecoded, None, None]:
        for index in range(100):
            asked.append(index)
            yield source(index)

    results = decode(sources(), workers=2, hearing=Hearing(400, 10_000, normalizes=True))
    next(results)
    results.close()
    assert len(asked) == 5


def test_decoding_uses_several_threads() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def blocks(notes: object = None) -> Iterator[np.ndarray]:
        barrier.wait()
        yield np.zeros(400, np.float32)

    sources = [Undecoded(index, "", blocks) for index in range(3)]
    results = list(decode(sources, workers=3, hearing=Hearing(400, 10_000, normalizes=True)))
    assert [type(result) for result in results] == [Waveform] * 3


def test_the_background_keeps_order_and_depth() -> None:
    produced: list[int] = []

    def numbers() -> Generator[int, None, None]:
        for number in range(20):
            produced.append(number)
            yield number

    ahead = in_background(numbers(), depth=2)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert produced == [0, 1, 2, 3]  # one taken, two in the queue, one waiting to be put there
    assert list(ahead) == list(range(1, 20))


def test_an_error_in_the_background_is_raised_in_front() -> None:
    def numbers() -> Generator[int, None, None]:
        yield 1
        raise KeyError("lost")

    ahead = in_background(numbers(), depth=2)
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="lost"):
        next(ahead)


def test_closing_ends_the_thread_and_the_generator() -> None:
    closed = threading.Event()

    def numbers() -> Generator[int, None, None]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            closed.set()

    before = threading.active_count()
    ahead = in_background(numbers(), depth=2)
    next(ahead)
    assert threading.active_count() == before + 1
    ahead.close()
    assert closed.is_set() and threading.active_count() == before
