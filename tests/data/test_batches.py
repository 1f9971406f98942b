from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from data.helpers import batches
from signals import start_child

from emotion2vec.data import sources as module
from emotion2vec.data.config import DataConfig
from emotion2vec.data.cuts import LoadedCuts, load_cuts
from emotion2vec.data.micro_batch import BatchDecoder, MicroBatch
from emotion2vec.data.order import Position, Request, Stream
from emotion2vec.data.sources import CutSource
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.pretrain.config import MaskConfig
from emotion2vec.pretrain.masking import batch_masks
from emotion2vec.seeding import keyed_seed

SETTINGS = {"batch_seconds": 3.0, "max_samples": 16_000, "buckets": 3, "seed": 5, "accumulate": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty utterances of 0.5 to 1.5 s."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for number in range(30):
        samples = 8_000 + int(rng.integers(16_000))
        soundfile.write(folder / f"u{number:02d}.wav", rng.normal(0.02, 0.1, samples), 16_000)
    return folder


@pytest.fixture(scope="module")
def corpus(folder: Path) -> LoadedCuts:
    return load_cuts([folder], min_samples=8_000, max_bad_share=0.0, workers=0)


def take(iterator: Iterator[MicroBatch], count: int) -> list[MicroBatch]:
    taken = list(islice(iterator, count))
    iterator.close()
    return taken


def epoch(cuts, number: int = 0, **settings) -> list[MicroBatch]:
    iterator = batches(cuts, **{**SETTINGS, **settings}, start=Position(epoch=number))
    return list(take_while_in(iterator, number))


def take_while_in(iterator: Iterator[MicroBatch], number: int) -> Iterator[MicroBatch]:
    for batch in iterator:
        if batch.position.epoch != number:
            iterator.close()
            return
        yield batch


def same(first: list[MicroBatch], second: list[MicroBatch]) -> bool:
    return len(first) == len(second) and all(
        (a.ids, a.position, a.skipped) == (b.ids, b.position, b.skipped) and torch.equal(a.waveforms, b.waveforms)
        for a, b in zip(first, second, strict=True)
    )


def test_an_epoch_holds_every_utterance_once_within_the_budget(corpus: LoadedCuts) -> None:
    seen = epoch(corpus.cuts)
    assert sorted(name for batch in seen for name in batch.ids) == [f"u{number:02d}" for number in range(30)]
    for number, batch in enumerate(seen):
        assert batch.waveforms.dtype == torch.float32
        assert batch.waveforms.shape[0] == len(batch.ids)
        assert batch.waveforms.numel() <= 3.0 * 16_000
        assert batch.waveforms.shape[1] <= 16_000
        assert batch.seconds == pytest.approx(batch.waveforms.numel() / 16_000)
        assert batch.position == Position(epoch=0, batch=number + 1, index=number + 1)
    lengths = {cut.id: min(round(cut.duration * 16_000), 16_000) for cut in corpus.cuts}
    assert all(batch.waveforms.shape[1] == min(lengths[name] for name in batch.ids) for batch in seen)
    assert sum(batch.seconds for batch in seen) > 0.6 * 3.0 * len(seen)


def test_each_epoch_has_its_own_order_and_its_own_crops(corpus: LoadedCuts) -> None:
    first, second = epoch(corpus.cuts, 0), epoch(corpus.cuts, 1)
    assert [batch.ids for batch in first] != [batch.ids for batch in second]
    assert [batch.ids for batch in first] != [batch.ids for batch in epoch(corpus.cuts, 0, seed=6)]
    assert same(first, epoch(corpus.cuts, 0))


def test_waveforms_are_keyed_crops_of_the_normalized_utterance(corpus: LoadedCuts, folder: Path) -> None:
    for batch in take(batches(corpus.cuts, **SETTINGS, start=Position(1, 2, 7)), 3):
        update = (batch.position.index - 1) // SETTINGS["accumulate"]
        length = batch.waveforms.shape[1]
        for name, row in zip(batch.ids, batch.waveforms, strict=True):
            samples = torch.from_numpy(soundfile.read(folder / f"{name}.wav", dtype="float32")[0])
            expected = torch.nn.functional.layer_norm(samples, samples.shape)  # fairseq's normalization
            rng = np.random.default_rng(keyed_seed(SETTINGS["seed"], "crop", update, name))
            for limit in (SETTINGS["max_samples"], length):
                if len(expected) > limit:
                    first = int(rng.integers(len(expected) - limit + 1))
                    expected = expected[first : first + limit]
            torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_is_uninterrupted(corpus: LoadedCuts, workers: int) -> None:
    count = len(epoch(corpus.cuts)) + 4  # past the end of an epoch
    whole = take(batches(corpus.cuts, **SETTINGS), count)
    assert whole[-1].position.epoch == 1
    assert same(whole, take(batches(corpus.cuts, **SETTINGS, workers=workers), count))
    for stop in (1, count - 5, count - 4, count - 2):
        random.seed(stop)
        np.random.seed(stop)
        torch.manual_seed(stop)
        resumed = batches(corpus.cuts, **SETTINGS, start=whole[stop - 1].position, workers=workers)
        assert same(whole[stop:], take(resumed, count - stop))


def test_the_global_random_state_is_left_alone(corpus: LoadedCuts) -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    take(batches(corpus.cuts, **SETTINGS, workers=1), 3)
    take(batches(corpus.cuts, **SETTINGS), 3)
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch_in_step(corpus: LoadedCuts, world_size: int) -> None:
    ranks = [epoch(corpus.cuts, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    names = [name for rank in ranks for batch in rank for name in batch.ids]
    originals = [name for name in names if "_dup" not in name]
    assert sorted(originals) == [f"u{number:02d}" for number in range(30)]
    assert all(batch.waveforms.numel() <= 3.0 * 16_000 for rank in ranks for batch in rank)
    single = [set(batch.ids) for batch in epoch(corpus.cuts)]
    assert len(ranks[0]) == -(-len(single) // world_size)


def test_ranks_do_not_come_from_the_environment(corpus: LoadedCuts, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = take(batches(corpus.cuts, **SETTINGS), 2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert same(expected, take(batches(corpus.cuts, **SETTINGS), 2))


def rows_by_key(batches_of_update: list[MicroBatch]) -> dict[str, list[torch.Tensor]]:
    found: dict[str, list[torch.Tensor]] = {}
    for batch in batches_of_update:
        for name, row in zip(batch.ids, batch.waveforms, strict=True):
            found.setdefault(name, []).append(row[:3_000])
    return found


@pytest.mark.parametrize("passes", [3.0, 1.0])
def test_an_utterance_drawn_again_in_one_update_is_cropped_and_keyed_anew(corpus: LoadedCuts, passes: float) -> None:
    """By a weight, and by an update that is longer than an epoch."""
    source = CutSource(corpus.cuts, weight=passes)
    settings = {**SETTINGS, "accumulate": 1_000, "max_samples": 9_000}
    seen = take(batches([source], **settings), 60)
    assert seen[-1].position.epoch >= (0 if passes > 1 else 2)
    keys = [key for batch in seen for key in batch.keys]
    assert len(keys) == len(set(keys))
    first = seen[0]
    assert first.keys[0].partition("@")[0].partition("+")[0] == first.ids[0]
    again = [rows for rows in rows_by_key(seen).values() if len(rows) > 2]
    assert again and any(not torch.equal(rows[0], rows[1]) for rows in again)
    masks = batch_masks(keys, 60, MaskConfig(views=1), seed=0, update=1)
    assert len({mask.numpy().tobytes() for mask in masks}) > 0.99 * len(keys)
    shorter = take(batches([source], **{**settings, "accumulate": 1}), 60)
    if passes == 1:
        assert all(batch.keys == batch.ids for batch in shorter)  # nothing is drawn again within one update


def test_budget_holds_where_headers_understate(corpus: LoadedCuts, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(size=64_000).astype(np.float32)
    monkeypatch.setattr(module, "load_cut", lambda cut: noise)
    source, data = CutSource(corpus.cuts), DataConfig(batch_seconds=3, max_samples=16_000)
    decoder = BatchDecoder([source], data, Stream(seed=5))
    batch = decoder[Request([(0, source.entries([(0, 8)]))], 0, Position(0, 1, 1))]
    assert isinstance(batch, MicroBatch)
    assert batch.waveforms.shape == (8, 6_000)


def test_lengths_are_rounded_down_to_the_step(corpus: LoadedCuts) -> None:
    exact, rounded = epoch(corpus.cuts), epoch(corpus.cuts, length_step=1_600)
    assert any(batch.waveforms.shape[1] % 1_600 for batch in exact)
    for one, other in zip(exact, rounded, strict=True):
        length = one.waveforms.shape[1]
        assert other.waveforms.shape == (len(one.ids), length - length % 1_600)
    assert {batch.waveforms.shape[1] for batch in epoch(corpus.cuts, length_step=7_999)} <= {7_999, 15_998}


def damaged(folder: Path, target: Path, bad: set[int]) -> LoadedCuts:
    """The corpus with some utterances turned to NaN behind a sound header."""
    target.mkdir()
    for number, path in enumerate(sorted(folder.glob("*.wav"))[:12]):
        samples, rate = soundfile.read(path, dtype="float32")
        if number in bad:
            samples[100] = np.nan
        soundfile.write(target / path.name, samples, rate, subtype="FLOAT")
    return load_cuts([target], min_samples=8_000, max_bad_share=0.0, workers=0)


def test_what_cannot_be_decoded_is_named_and_left_out(folder: Path, tmp_path: Path) -> None:
    cuts = damaged(folder, tmp_path / "nan", {1, 4}).cuts
    (tmp_path / "nan" / "u07.wav").unlink()
    seen = epoch(cuts)
    assert sorted(name for batch in seen for name in batch.ids) == [
        f"u{number:02d}" for number in range(12) if number not in (1, 4, 7)
    ]
    faults = {fault.where: fault.reason for batch in seen for fault in batch.skipped}
    assert faults.keys() == {"u01", "u04", "u07"}
    assert "1 of" in faults["u01"] and "NaN" in faults["u01"] and "nan/u01.wav" in faults["u01"]
    assert all(torch.isfinite(batch.waveforms).all() for batch in seen)


def test_empty_micro_batches_are_passed_over_and_their_faults_kept(folder: Path, tmp_path: Path) -> None:
    cuts = damaged(folder, tmp_path / "nan", set(range(8))).cuts
    seen = take(batches(cuts, **{**SETTINGS, "batch_seconds": 1.0}), 8)  # one or two utterances each
    assert all(batch.ids for batch in seen)
    assert len({batch.position.index for batch in seen}) == 8
    assert seen[-1].position.index > 8
    first_epoch = [fault.where for batch in seen for fault in batch.skipped][:8]
    assert sorted(first_epoch) == [f"u{number:02d}" for number in range(8)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_without_anything_usable_is_an_error(folder: Path, tmp_path: Path, workers: int) -> None:
    cuts = damaged(folder, tmp_path / "nan", set(range(12))).cuts
    with pytest.raises(ManifestError, match=r"epoch 0 held no usable utterance, 12 could not be decoded: u.*NaN"):
        next(batches(cuts, **SETTINGS, workers=workers))
    # Only the rest of an epoch is seen here: that it is bad says nothing of its start, but the next one has to hold.
    with pytest.raises(ManifestError, match="epoch 1 held no usable"):
        next(batches(cuts, **SETTINGS, start=Position(0, 1, 1), workers=workers))


def test_cache_decodes_once_and_changes_nothing(corpus: LoadedCuts, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = take(batches(corpus.cuts, **SETTINGS), 25)
    decoded: list[str] = []
    original = module.load_cut
    monkeypatch.setattr(module, "load_cut", lambda cut: (decoded.append(cut.id), original(cut))[1])
    assert same(expected, take(batches(corpus.cuts, **SETTINGS, cache=True), 25))
    assert sorted(decoded) == [f"u{number:02d}" for number in range(30)]


def test_one_utterance_and_more_buckets_than_utterances(corpus: LoadedCuts) -> None:
    assert [batch.ids for batch in epoch(corpus.cuts.subset(first=1), buckets=50)] == [["u00"]]
    assert len(epoch(corpus.cuts.subset(first=2), buckets=50)) >= 1


def test_an_epoch_may_be_nobodys_turn(corpus: LoadedCuts) -> None:
    rare = CutSource(corpus.cuts.subset(first=1), weight=0.25)
    assert [batch.position.epoch for batch in take(batches([rare], **SETTINGS), 3)] == [2, 5, 10]


def test_wrong_arguments_are_gathered(corpus: LoadedCuts) -> None:
    with pytest.raises(ConfigError) as caught:
        wrong = {"batch_seconds": 0.5, "accumulate": 0, "workers": 2, "cache": True, "rank": 1}
        batches(corpus.cuts, **{**SETTINGS, **wrong})
    for name in ("data.batch_seconds (0.5 s", "accumulate is 0", "data.cache is on and data.workers is 2", "rank is 1"):
        assert name in str(caught.value)


def test_closing_stops_the_workers(corpus: LoadedCuts) -> None:
    before = set(multiprocessing.active_children())
    iterator = batches(corpus.cuts, **SETTINGS, workers=2)
    next(iterator)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    iterator.close()
    assert not any(worker.is_alive() for worker in workers)


SIGNALLED = """
import os, signal, sys, time
import torch
from emotion2vec.data.batches import batches
from emotion2vec.data.config import DataConfig
from emotion2vec.data.cuts import load_cuts
from emotion2vec.data.order import Stream

torch.set_num_threads(2)
torch.randn(512, 512) @ torch.randn(512, 512)  # the thread pool runs before the workers start
number = signal.Signals[sys.argv[2]]
cuts = load_cuts([sys.argv[1]], min_samples=8000, max_bad_share=0.0, workers=0).cuts
data = DataConfig(batch_seconds=3, max_samples=16000, buckets=3, workers=2)
iterator = batches(cuts, data, Stream(seed=5, accumulate=2))
forks = []
os.register_at_fork(before=lambda: forks.append(1), after_in_child=lambda: time.sleep(2 * (len(forks) - 1)))
next(iterator)  # from the first worker: the second has not yet begun
asked = []
signal.signal(number, lambda *_: asked.append(True))  # after the workers were made: they do not inherit it
print("started", flush=True)
while not asked:
    next(iterator)
for _ in range(50):  # more than was prefetched
    next(iterator)
iterator.close()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_workers_outlive_a_signal_that_the_main_process_handles(folder: Path, name: str) -> None:
    process = start_child(
        [sys.executable, "-c", SIGNALLED, str(folder), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        os.killpg(process.pid, signal.Signals[name])  # as a terminal or scheduler does: to the workers as well
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (out, err, process.returncode) == ("stopped\n", "", 0)


ABANDONED = """
import multiprocessing, sys
from emotion2vec.data.batches import batches
from emotion2vec.data.config import DataConfig
from emotion2vec.data.cuts import load_cuts
from emotion2vec.data.order import Stream

cuts = load_cuts([sys.argv[1]], min_samples=8000, max_bad_share=0.0, workers=0).cuts
data = DataConfig(batch_seconds=3, max_samples=16000, buckets=3, workers=2)
iterator = batches(cuts, data, Stream(seed=5, accumulate=2))
next(iterator)
multiprocessing.active_children()[0].terminate() if sys.argv[2] == "terminate" else None
print("alive", flush=True)
{"raise": lambda: 1 // 0, "wait": lambda: sys.stdin.read(), "terminate": lambda: sys.exit(3)}[sys.argv[2]]()
"""


@pytest.mark.parametrize(("ending", "code"), [("raise", 1), ("terminate", 3), ("wait", -9)])
def test_workers_end_with_their_parent(folder: Path, ending: str, code: int) -> None:
    process = start_child(
        [sys.executable, "-c", ABANDONED, str(folder), ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "alive\n"
        if ending == "wait":
            process.kill()
        process.communicate(timeout=30)  # ends when no worker holds the pipes any more
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code


def test_only_the_parent_can_terminate_a_worker(corpus: LoadedCuts) -> None:
    before = set(multiprocessing.active_children())
    iterator = batches(corpus.cuts, **SETTINGS, workers=1)
    next(iterator)
    (worker,) = set(multiprocessing.active_children()) - before
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)  # another process
    worker.join(timeout=0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(timeout=10)
    assert worker.exitcode == 0
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        for _ in range(50):
            next(iterator)
