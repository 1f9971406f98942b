"""What is logged of an update, and when it stops a run, against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import tiny_config, waveforms

from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Position
from emotion2vec.errors import TrainingError
from emotion2vec.pretrain.masking import batch_masks
from emotion2vec.pretrain.metrics import UpdateSums, refuse_collapse
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.pretrain.targets import STD_FLOOR, deviation
from emotion2vec.training.config import GuardConfig
from emotion2vec.training.metrics import Moments


@pytest.mark.parametrize("kind", ["none", "chunk"])
def test_numbers_of_an_update_by_their_formulas(kind: str) -> None:
    targets, predictions, pooled = torch.randn(3, 30, 9, generator=torch.Generator().manual_seed(0))
    losses = torch.tensor([40.0, 6.0], dtype=torch.float64)
    sums = UpdateSums(losses, Moments.of(targets), Moments.of(predictions * 2), Moments.of(pooled), pooled.T @ pooled)
    loss = tiny_config(f"loss.utterance={kind}", "loss.alpha=0.5").loss
    found = sums.metrics({"masked": 20.0, "views": 4.0, "frames": 50.0}, loss)
    variance, moved = np.var(targets.numpy(), axis=0, ddof=1), np.var(2 * predictions.numpy(), axis=0, ddof=1)
    expected = {
        "frame_loss": 2.0,
        "masked_share": 0.4,
        "target_std": np.sqrt(variance + 1e-6).mean(),
        "prediction_std": np.sqrt(moved + 1e-6).mean(),
        "explained_share": 1 - 2.0 / 3 / variance.mean(),  # the loss of a frame has a factor of 1/sqrt(D)
    }
    expected |= {"loss": 2.0} if kind == "none" else {"loss": 2.0 + 0.5 * 1.5, "utterance_loss": 1.5}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("samples", [4_000, 8_000, 16_000])
def test_counts_of_an_update_are_those_of_its_masks(samples: int) -> None:
    config = tiny_config("mask.views=3")
    objective = Pretraining(config, Pretrainer(config), torch.device("cpu"))
    batch = MicroBatch(waveforms(2, samples), ["a", "b"], Position(), keys=["a", "b"])
    masks = batch_masks(["a", "b"], config.model.grid.count(samples), config.mask, seed=0, update=1)
    assert objective.counts(batch) == {"masked": masks.sum(), "views": 6, "frames": masks.numel()}


@pytest.mark.parametrize("name", ["target_std", "prediction_std"])
def test_a_run_stops_below_its_limits_and_after_its_first_updates(name: str) -> None:
    guard = GuardConfig(after_updates=10, min_target_std=0.5, min_prediction_std=0.5)
    metrics = {"target_std": 0.5, "prediction_std": 0.5}
    refuse_collapse(11, metrics, guard)
    refuse_collapse(10, metrics | {name: 0.0}, guard)
    with pytest.raises(TrainingError, match=f"update 11: .* {name} is 0.4999, expected at least 0.5"):
        refuse_collapse(11, metrics | {name: 0.4999}, guard)


def test_rounding_of_equal_utterances_is_no_variance() -> None:
    square = torch.full((3,), 9999.99)  # that of 100, but for the rounding of a mean
    assert deviation(torch.full((3,), 100.0), square, torch.tensor(10.0)).tolist() == pytest.approx([STD_FLOOR] * 3)
