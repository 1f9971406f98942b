"""What is logged of an update, and when it stops a run, against plain formulas."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

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


@pytest.mark.parametrize(("kind", "expected"), [("none", 40 / 20), ("chunk", 40 / 20 + 0.5 * 6 / 4)])
def test_what_an_update_minimizes_is_a_mean_over_masked_frames_and_one_over_views(kind: str, expected: float) -> None:
    config = tiny_config(f"loss.utterance={kind}", "loss.alpha=0.5")
    objective = Pretraining(config, Pretrainer(config), torch.device("cpu"))
    output = SimpleNamespace(frame_loss=torch.tensor(40.0), utterance_loss=torch.tensor(6.0))
    found = objective.loss(output, {"masked": 20.0, "views": 4.0, "frames": 50.0})  # type: ignore[arg-type]
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["none", "chunk"])
def test_the_utterance_target_knows_all_utterances_of_the_first_update_before_it(kind: str) -> None:
    """Those of all its batches, and of both of two processes."""
    config = tiny_config(f"loss.utterance={kind}")
    objective = Pretraining(config, Pretrainer(config), torch.device("cpu"))
    heard = [waveforms(count, 4_000, seed=count) for count in (3, 2)]
    batches = [MicroBatch(x, [], Position(), keys=[]) for x in heard]
    fabric = SimpleNamespace(autocast=nullcontext, device=torch.device("cpu"))
    objective.begin(batches, fabric, SimpleNamespace(add_up=lambda sums: 2 * sums))  # type: ignore[arg-type]
    target = objective.pretrainer.utterance_target
    if kind == "none":
        assert (float(target.updates), float(target.utterances)) == (0, 0)
        return
    pooled = torch.cat([objective.pretrainer.pooled(x) for x in heard])
    assert (float(target.updates), float(target.utterances)) == (1, 10)
    torch.testing.assert_close(target.mean, pooled.mean(dim=0))
    torch.testing.assert_close(target.square, pooled.square().mean(dim=0))


def test_a_batch_says_what_the_teacher_showed_and_what_was_predicted_of_it() -> None:
    config = tiny_config("mask.views=3")
    model = Pretrainer(config)
    heard, seen = waveforms(2, 8_000), {}
    mask = batch_masks(["a", "b"], config.model.grid.count(8_000), config.mask, seed=0, update=1)
    model.teacher.register_forward_hook(lambda module, inputs, output: seen.update(ffn=output.ffn))
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.update(decoded=output))
    with torch.no_grad():
        found = model(heard, mask)
    taught = [layer[:, config.model.tokens :] for layer in seen["ffn"][-config.loss.top_k :]]
    shown = torch.stack([(one - one.mean(1, keepdim=True)) / (one.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
                         for one in taught]).mean(dim=0)  # fmt: skip
    decoded = seen["decoded"].unflatten(0, (2, 3))
    for moments, values in (
        (found.targets, shown[:, None].expand_as(decoded)[mask]),
        (found.predictions, decoded[mask]),
    ):
        assert float(moments.count) == mask.sum()
        torch.testing.assert_close(moments.total.float(), values.sum(dim=0), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(moments.square.float(), values.square().sum(dim=0), atol=1e-3, rtol=1e-3)
    assert (found.masked, found.views) == (mask.sum(), 6)
    torch.testing.assert_close(found.pooled, model.pooled(heard))
    difference = (decoded - shown[:, None])[mask]
    torch.testing.assert_close(
        found.frame_loss.float(), (difference.square().sum() / np.sqrt(32)).float(), rtol=1e-3, atol=1e-3
    )


def test_after_a_step_the_teacher_follows_and_new_utterances_count_once() -> None:
    """Those of the first update were counted before it."""
    config = tiny_config("loss.utterance=chunk", "ema.decay=0.9", "ema.end_decay=0.7", "ema.anneal_updates=4")
    objective = Pretraining(config, Pretrainer(config), torch.device("cpu"))
    teacher, student = (module.backbone for module in (objective.pretrainer.teacher, objective.pretrainer.student))
    pooled = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)).double()
    sums = UpdateSums(torch.zeros(2), Moments.of(pooled), Moments.of(pooled), Moments.of(pooled), pooled.T @ pooled)
    with torch.no_grad():
        for weights in student.parameters():
            weights.add_(1.0)
    for update, decay, seen in ((1, 0.85, 0), (2, 0.8, 6), (5, 0.7, 12)):
        before = [weights.clone() for weights in teacher.parameters()]
        objective.after_step(update, sums)
        for old, new, goal in zip(before, teacher.parameters(), student.parameters(), strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * goal)
        assert objective.scheduled(update) == {"ema_decay": pytest.approx(decay)}
        target = objective.pretrainer.utterance_target
        assert float(target.utterances) == seen
    torch.testing.assert_close(target.mean, pooled.mean(dim=0).float())


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
