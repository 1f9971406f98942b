"""Two processes: equal to one on the joined batch, and to the large batch under accumulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from training.helpers import Run, assert_same_run, finish, metrics, overrides, server, tensors
from training.slow_rank import slow_then_small

from emotion2vec.data.order import Position
from emotion2vec.training.checkpointing import resumed_position


@pytest.fixture(scope="module")
def equal_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of one second: every update of eight seconds holds them all, whoever reads which."""
    folder = tmp_path_factory.mktemp("equal")
    rng = np.random.default_rng(0)
    for number in range(8):
        tone = np.sin(2 * np.pi * (100 + 60 * number) * np.arange(16_000) / 16_000)
        soundfile.write(folder / f"{number}.wav", 0.3 * tone + 0.05 * rng.normal(size=16_000), 16_000)
    return folder


@pytest.fixture(scope="module")
def runs(equal_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same five updates over all clips: in one batch, by accumulation, and by two processes."""
    folder = tmp_path_factory.mktemp("runs")
    shared = ["optim.max_updates=5", "data.max_samples=16000", "data.buckets=1", "optim.clip_norm=1"]
    settings = {
        "one": ["data.batch_seconds=8"],
        "accumulated": ["data.batch_seconds=2", "optim.accumulate=4"],
        "two": ["data.batch_seconds=4"],
        "two_accumulated": ["data.batch_seconds=2", "optim.accumulate=2"],
        "sharded": ["data.batch_seconds=4", "run.strategy=fsdp"],
    }
    for name, own in settings.items():
        ranks = 1 if name in ("one", "accumulated") else 2
        finish(overrides(equal_speech, folder / name, *shared, *own), folder / f"{name}.log", ranks=ranks)
    return {name: folder / name for name in settings}


def test_processes_wait_for_one_that_works_for_long(tmp_path: Path) -> None:
    processes = [server.Process(target=slow_then_small, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    assert (tmp_path / "done0").exists() and (tmp_path / "done1").exists()


@pytest.mark.parametrize("kind", ["accumulated", "two", "two_accumulated", "sharded"])
def test_equals_one_process_on_the_joined_batch(runs: dict[str, Path], kind: str) -> None:
    ours, expected = tensors(runs[kind], 5), tensors(runs["one"], 5)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        if not name.startswith("optimizer."):  # Adam's second moments are squares, whose noise is twice as large
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")
    for line, other in zip(metrics(runs[kind]), metrics(runs["one"]), strict=True):
        watched = ("loss", "frame_loss", "utterance_loss", "grad_norm", "target_std", "prediction_std", "masked_share")
        assert {name: line[name] for name in watched} == pytest.approx({n: other[n] for n in watched}, rel=1e-4)


def test_training_moved_what_is_compared(runs: dict[str, Path]) -> None:
    first, last = metrics(runs["one"])[0], metrics(runs["one"])[-1]
    assert last["frame_loss"] < 0.9 * first["frame_loss"]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_resume_on_two_ranks_with_layerdrop(equal_speech: Path, tmp_path: Path, strategy: str) -> None:
    settings = ["model.layerdrop=0.4", "model.dropout=0.1", "optim.accumulate=2", "data.batch_seconds=2"]
    settings += ["optim.max_updates=4", "checkpoint.every=2", "checkpoint.background=false", f"run.strategy={strategy}"]
    whole, parts = (overrides(equal_speech, tmp_path / name, *settings) for name in ("whole", "parts"))
    finish(whole, tmp_path / "whole.log", ranks=2)
    assert Run(parts, tmp_path / "parts.log", ranks=2, die_in_step=4).wait() == [9, 9]
    assert "resumed after update 2" in finish(parts, tmp_path / "parts.log", ranks=2)
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 4)


def test_processes_with_unequal_masks_equal_one_with_both_batches(tmp_path: Path) -> None:
    """One process holds six clips of one second, the other one of three: 288 masked frames against 148."""
    speech, rng = tmp_path / "speech", np.random.default_rng(0)
    speech.mkdir()
    for number, seconds in enumerate([1, 1, 1, 1, 1, 1, 3]):
        tone = np.sin(2 * np.pi * (100 + 60 * number) * np.arange(16_000 * seconds) / 16_000)
        soundfile.write(speech / f"{number}.wav", 0.3 * tone + 0.05 * rng.normal(size=len(tone)), 16_000)
    shared = ["optim.max_updates=3", "optim.clip_norm=1", "data.batch_seconds=6", "data.max_samples=48000"]
    for name, ranks in (("one", 1), ("two", 2)):
        settings = [*shared, f"optim.accumulate={2 // ranks}"]
        finish(overrides(speech, tmp_path / name, *settings), tmp_path / f"{name}.log", ranks=ranks)
    ours, expected = tensors(tmp_path / "two", 3), tensors(tmp_path / "one", 3)
    for name, value in expected.items():
        if not name.startswith("optimizer."):
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")
    for line, other in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        watched = ("loss", "frame_loss", "utterance_loss", "grad_norm", "masked_share", "kept_share")
        assert {name: line[name] for name in watched} == pytest.approx({n: other[n] for n in watched}, rel=1e-4)


@pytest.mark.parametrize("frozen", ["optim.cnn_grad_scale=0", "optim.cnn_lr_scale=0"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_frozen_cnn_on_two_processes(equal_speech: Path, tmp_path: Path, frozen: str, strategy: str) -> None:
    settings = [frozen, f"run.strategy={strategy}", "data.batch_seconds=4", "checkpoint.every=1", "optim.max_updates=3"]
    finish(overrides(equal_speech, tmp_path / "run", *settings, "checkpoint.keep_last=3"), tmp_path / "log", ranks=2)
    first, last = tensors(tmp_path / "run", 1), tensors(tmp_path / "run", 3)
    cnn = [name for name in first if name.startswith("frontend.layers.")]
    assert cnn and all(torch.equal(first[name], last[name]) for name in cnn)
    assert not torch.equal(first["frontend.projection.weight"], last["frontend.projection.weight"])


def test_the_last_update_has_learning_rate_0_and_moves_the_teacher_alone(equal_speech: Path, tmp_path: Path) -> None:
    settings = ["optim.max_updates=3", "checkpoint.every=1", "checkpoint.keep_last=3", "ema.decay=0.9"]
    said = finish(overrides(equal_speech, tmp_path / "run", *settings), tmp_path / "log")
    assert "4 s of audio per update at most: 1 device × 1 batch × 4 s" in said
    before, after = tensors(tmp_path / "run", 2), tensors(tmp_path / "run", 3)
    student = [name for name in before if not name.startswith(("pretrainer.", "optimizer.", "run."))]
    assert student and all(torch.equal(before[name], after[name]) for name in student)
    name = "pretrainer.teacher.backbone.blocks.0.fc1.weight"
    name = name if name in before else next(n for n in before if n.startswith("pretrainer.teacher.backbone.blocks.0"))
    assert not torch.equal(before[name], after[name])
    assert [line["lr"] for line in metrics(tmp_path / "run")] == pytest.approx([5e-4, 1e-3, 0.0])


def test_fewer_or_more_processes_share_the_rest_of_the_epoch() -> None:
    saved = [Position(1, 6, 20), Position(1, 6, 20)]
    assert resumed_position(saved, 1, 2) == saved[1]
    assert resumed_position(saved, 0, 4) == Position(1, 3, 20)
    assert resumed_position(saved, 0, 1) == Position(1, 12, 20)
    assert resumed_position([Position(2, 0, 9), Position(1, 5, 9)], 0, 1) == Position(1, 5, 9)
