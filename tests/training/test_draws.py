"""What is drawn in training: by update, by batch and, where processes must differ, by process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from networks import tiny_config
from training.helpers import finish, metrics, overrides, tensors

from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.training.objective import skipped_blocks
from emotion2vec.training.trainer import Trainer

KEYED = ["data.batch_seconds=2", "data.max_samples=32000", "optim.max_updates=3", "loss.utterance=none"]


@pytest.fixture(scope="module")
def one_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single clip of two seconds, which every process of a run trains on in every update."""
    folder = tmp_path_factory.mktemp("one")
    soundfile.write(folder / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
    return folder


def updates(speech: Path, run: Path, ranks: int, *random: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and weights of three updates."""
    settings = overrides(speech, run, *KEYED, *random)
    if ranks == 1:
        pretrain(load_config(None, settings), say=lambda text: None)
    else:
        finish(settings, run.with_suffix(".log"), ranks=ranks)
    return [line["loss"] for line in metrics(run)], tensors(run, 3)


def test_processes_leave_out_the_same_blocks(one_clip: Path, tmp_path: Path) -> None:
    """With the same clip on two processes an update is that of one process, but for blocks that only one leaves out."""
    dropped = ["model.layerdrop=0.5", "model.depth=4"]
    losses, weights = updates(one_clip, tmp_path / "one", 1, *dropped)
    both, theirs = updates(one_clip, tmp_path / "two", 2, *dropped)
    assert both == pytest.approx(losses, rel=1e-5)
    for name, value in weights.items():
        if not name.startswith(("optimizer.", "pretrainer.utterance_target.")):  # whose clips are counted twice
            torch.testing.assert_close(
                theirs[name], value, rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}"
            )
    config = load_config(tmp_path / "one" / "config.yaml")
    assert len({skipped_blocks(config.model, config.run.seed, update, 0) for update in (1, 2, 3)}) == 3


def test_processes_drop_other_values(one_clip: Path, tmp_path: Path) -> None:
    """With the same clip on two processes an update would be that of one if both dropped the same."""
    losses, _ = updates(one_clip, tmp_path / "one", 1, "model.dropout=0.3")
    both, _ = updates(one_clip, tmp_path / "two", 2, "model.dropout=0.3")
    assert both[0] != pytest.approx(losses[0], rel=1e-5)


def test_blocks_are_left_out_by_seed_update_and_batch_and_never_in_validation() -> None:
    config = tiny_config("model.layerdrop=0.25", "model.depth=7").model
    drawn = {key: skipped_blocks(config, *key) for key in np.ndindex(3, 60, 3)}
    assert all(0 <= block < 8 for blocks in drawn.values() for block in blocks)
    trained = [blocks for (_, update, _), blocks in drawn.items() if update]
    share = sum(map(len, trained)) / (8 * len(trained))
    assert share == pytest.approx(0.25, abs=0.03)
    assert not any(blocks for (_, update, _), blocks in drawn.items() if not update)
    for other in ((1, 7, 1), (0, 8, 1), (0, 7, 2)):
        pairs = [(drawn[0, 7 + n, 1], drawn[other[0], other[1] + n, other[2]]) for n in range(40)]
        assert sum(one != two for one, two in pairs) > 20, other
    assert drawn[0, 7, 1] == skipped_blocks(config, 0, 7, 1)


def test_dropout_differs_between_updates_and_between_batches_of_one(
    one_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []
    seed = Trainer._seed

    def seeded(self: Trainer, update: int, number: int) -> None:
        seed(self, update, number)
        drawn.append(float(torch.rand(())))

    monkeypatch.setattr(Trainer, "_seed", seeded)
    updates(one_clip, tmp_path / "one", 1, "optim.accumulate=2")
    first = list(drawn)
    assert len(set(first)) == len(first) == 6
    updates(one_clip, tmp_path / "again", 1, "optim.accumulate=2")
    assert drawn[6:] == first
    updates(one_clip, tmp_path / "other", 1, "optim.accumulate=2", "run.seed=5")
    assert not set(drawn[12:]) & set(first)
