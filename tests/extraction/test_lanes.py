"""Batches side by side on a CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import numpy as np
import pytest
import soundfile
import torch

from emotion2vec import extract_features, processors
from emotion2vec.extraction import extract
from emotion2vec.extraction.encode.lanes import MAX_LANES, in_lanes, lanes_for, stop_if_closed
from emotion2vec.model.encoder import Emotion2vec

CPU = torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_task_gives_its_results_once() -> None:
    def work(task: int) -> list[tuple[int, int]]:
        return [(task, part) for part in range(task % 3)]

    expected = [(task, part) for task in range(50) for part in range(task % 3)]
    assert sorted(in_lanes(range(50), work, 3)) == expected
    assert list(in_lanes(range(50), work, 1)) == expected


def test_a_slow_task_keeps_no_other_from_being_done() -> None:
    others = Event()

    def work(task: int) -> list[int]:
        if task == 0:
            assert others.wait(10)  # until the last one is done
        elif task == 99:
            others.set()
        return [task]

    found = list(in_lanes(range(100), work, 2))
    assert sorted(found) == list(range(100)) and found[0] != 0


def test_lanes_work_at_the_same_time_and_divide_the_threads(threads: None) -> None:
    torch.set_num_threads(5)
    meeting = Barrier(2, timeout=10)

    def work(_: int) -> list[int]:
        meeting.wait()  # breaks if the lanes take turns
        return [torch.get_num_threads()]

    assert sorted(in_lanes(range(4), work, 2)) == [2, 2, 3, 3]
    assert list(in_lanes(range(2), lambda _: [torch.get_num_threads()], 1)) == [5, 5]


def test_threads_outside_the_lanes_keep_their_number(threads: None) -> None:
    """Also threads that begin while a job runs, and after jobs that overlapped."""

    def seen_by_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: torch.ones(9).sum() and torch.get_num_threads()).result()

    torch.set_num_threads(4)
    one, other = (in_lanes(range(9), lambda task: [task], 4) for _ in range(2))
    next(one), next(other)
    assert torch.get_num_threads() == seen_by_a_new_thread() == 4
    one.close(), other.close()
    assert torch.get_num_threads() == seen_by_a_new_thread() == 4


def test_an_error_is_raised_and_no_more_tasks_begin() -> None:
    begun = []

    def work(task: int) -> list[int]:
        begun.append(task)
        if task == 1:
            raise RuntimeError("broken")
        return [task]

    with pytest.raises(RuntimeError, match="broken"):
        list(in_lanes(range(1000), work, 2))
    assert len(begun) < 20


@pytest.mark.parametrize("yields", [True, False])
def test_closing_waits_for_the_next_result_of_what_has_begun(yields: bool) -> None:
    begun, ended, going = [], [], Event()

    def work(task: int) -> Iterator[int]:
        begun.append(task)
        try:
            if task == 0:
                yield task
            while task:
                going.set()
                time.sleep(0.01)
                if yields:
                    yield task
                else:
                    stop_if_closed()
        finally:
            ended.append(task)

    stream = in_lanes(range(1000), work, 2)
    assert next(stream) == 0
    assert going.wait(10)
    stream.close()  # would never return if tasks ran to their end
    assert 0 in begun and len(begun) < 10 and sorted(begun) == sorted(ended)


def test_the_number_of_lanes(threads: None) -> None:
    torch.set_num_threads(4)
    assert [lanes_for(CPU, clips) for clips in (0, 1, 3, 100)] == [1, 1, 3, 4]
    assert lanes_for(torch.device("cuda"), 100) == 1
    torch.set_num_threads(MAX_LANES + 3)
    assert lanes_for(CPU, 100) == MAX_LANES


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_files_do_not_depend_on_lanes(
    model: Emotion2vec, threads: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, precision: str
) -> None:
    """Clips of many lengths, long audio and broken files, in one job."""
    monkeypatch.setattr(processors, "available_processors", lambda: 3)
    monkeypatch.setenv("EMOTION2VEC_PRODUCTS", "plain")  # the library may differ with the number of threads
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number, samples in enumerate([*rng.integers(4_000, 20_000, 12), 40_000, 50_000]):
        soundfile.write(tmp_path / "in" / f"{number:02d}.wav", 0.1 * rng.standard_normal(int(samples)), 16_000)
    (tmp_path / "in" / "broken.wav").write_bytes(b"no audio")
    for count in (1, 3):
        torch.set_num_threads(count)
        report = extract(
            tmp_path / "in",
            model=model,
            output=tmp_path / str(count),
            precision=precision,
            chunk_seconds=1.5,
            chunk_overlap=0.5,
        )
        assert len(report.failed) == 1 and report.failed[0].where.endswith("broken.wav")
    names = sorted(path.name for path in (tmp_path / "1").glob("*.npy"))
    assert len(names) == 14 and names == sorted(path.name for path in (tmp_path / "3").glob("*.npy"))
    for name in names:
        one, other = (np.load(tmp_path / str(count) / name) for count in (1, 3))
        np.testing.assert_allclose(one, other, atol=1e-5 if precision == "fp32" else 0.1)


def test_clips_in_memory_do_not_depend_on_lanes(
    model: Emotion2vec, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "available_processors", lambda: 3)
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(int(samples)).astype(np.float32) for samples in rng.integers(4_000, 20_000, 9)]
    torch.set_num_threads(1)
    alone = extract_features(clips, 16_000, model=model)
    torch.set_num_threads(3)
    together = extract_features(clips, 16_000, model=model)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.frames, other.frames, atol=1e-5)
