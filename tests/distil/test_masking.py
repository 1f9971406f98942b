"""Masks that hide loud frames, and that what is hidden does not reach the student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from distil.students import LOGMEL, save_teacher, student_config
from networks import waveforms

from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Position
from emotion2vec.distil.config import LoudMaskConfig
from emotion2vec.distil.masking import levels, loud_mask, masked_frames
from emotion2vec.distil.objective import Distillation
from emotion2vec.distil.run import build_distillation

VESPER = ["target.layers=[1,3,1]", "target.student_layers=[1,3,3]", "target.frames=[input,middle,all]"]
VESPER += ["target.weights=[1,0.1,1]", "target.standardize=false", "loss.predictor=mlp", "loss.pooled=0"]


@pytest.fixture(scope="module")
def objective(tmp_path_factory: pytest.TempPathFactory) -> Distillation:
    teacher = save_teacher(tmp_path_factory.mktemp("teacher") / "t", **LOGMEL)
    return build_distillation(student_config(teacher, *VESPER), torch.device("cpu"), lambda line: None)[0]


def batch_of(count: int, seed: int = 0) -> MicroBatch:
    x = waveforms(count, 32_000, seed)
    return MicroBatch(x, [f"clip{n}" for n in range(count)], Position(), clean=x, starts=[0] * count)


@pytest.mark.parametrize("frames", [1, 2, 10, 99, 250])
@pytest.mark.parametrize("span", [1, 8, 40])
def test_exactly_the_share_is_masked_whatever_the_level(frames: int, span: int) -> None:
    config, rng = LoudMaskConfig(), np.random.default_rng(0)
    for level in (np.ones(frames), np.zeros(frames), rng.random(frames), np.linspace(0, 1, frames)):
        assert loud_mask(level, span, config, rng).sum() == masked_frames(frames, config.share)


def test_half_of_the_spans_start_where_it_is_loud_and_half_where_it_is_moderate() -> None:
    level = np.repeat([0.05, 1.0, 0.05, 0.3, 0.05], 200)
    counts = np.zeros(1000)
    for seed in range(50):
        counts += loud_mask(level, 4, LoudMaskConfig(share=0.1), np.random.default_rng(seed))
    loud, moderate = counts[200:400].sum(), counts[600:800].sum()
    assert loud + moderate > 0.97 * counts.sum() and loud / moderate == pytest.approx(1, abs=0.1)


def test_levels_are_root_mean_squares_of_strides() -> None:
    x = np.random.default_rng(0).normal(size=(2, 1_000))
    expected = [[np.sqrt(np.mean(row[320 * t : 320 * (t + 1)] ** 2)) for t in range(3)] for row in x]
    np.testing.assert_allclose(levels(x, 3, 320), expected)
    assert levels(x, 5, 320).shape == (2, 5) and not levels(x, 5, 320)[:, 4].any()


def test_masks_are_a_function_of_seed_update_and_clip(objective: Distillation) -> None:
    both, one = batch_of(3), batch_of(1)
    first = objective.inputs(both, 5, 0)[4]  # (2, B, T)
    assert torch.equal(first[:, :1], objective.inputs(one, 5, 3)[4])
    assert not torch.equal(first, objective.inputs(both, 6, 0)[4]) and not torch.equal(first[0], first[1])
    counts = objective.counts(both)
    assert (
        first[0].sum() == counts["input"] and first[1].sum() == counts["middle"] and counts["all"] == first[0].numel()
    )


def test_hidden_frames_do_not_reach_the_student(objective: Distillation) -> None:
    """Neither through the input, nor from the middle on."""
    distiller, x = objective.distiller, waveforms(1, 16_000)
    masks = torch.zeros(2, 1, 50, dtype=torch.bool)
    masks[0, 0, 10:] = True
    other = x.clone()
    other[:, 12 * 320 :] = 0.05 * x.flip(1)[:, 12 * 320 :]

    def encode(waveform: torch.Tensor, masks: torch.Tensor) -> list[torch.Tensor]:
        return distiller._encode(waveform, masks, 0, ())

    with torch.no_grad():
        plain = torch.zeros_like(masks)
        assert not torch.allclose(encode(x, plain)[2], encode(other, plain)[2], atol=0.05)
        before, after = encode(x, masks), encode(other, masks)
        torch.testing.assert_close(before[2], after[2], atol=1e-3, rtol=1e-3)
        middle = masks.flip(0)
        before, after = encode(x, plain), encode(x, middle)
        torch.testing.assert_close(before[0], after[0])  # the first block of three is below the middle
        assert not torch.allclose(before[1], after[1], atol=1e-3)


def test_each_term_counts_its_own_frames(objective: Distillation) -> None:
    """The three losses of Vesper, as means over the frames of each, by hand."""
    batch = batch_of(2)
    inputs = objective.inputs(batch, 1, 0)
    output, counts = objective.distiller(*inputs), objective.counts(batch)
    layers, masks, distiller = inputs[1], inputs[4], objective.distiller
    with torch.no_grad():
        seen = distiller._encode(batch.waveforms, masks, 0, ())
        frames = [masks[0], masks[1], torch.ones_like(masks[0])]
        expected = torch.zeros(())
        for place, (layer, student, weight) in enumerate([(0, 0, 1.0), (1, 2, 0.1), (0, 2, 1.0)]):
            error = distiller.predictors[place](seen[student]) - layers[layer]
            expected = expected + weight * error[frames[place]].square().mean()
    torch.testing.assert_close(objective.loss(output, counts).detach(), expected)
    names = {"explained_share_1_at_1_input", "explained_share_3", "explained_share_1_at_3_all"}
    assert names <= set(objective.metrics(objective.sums([output]), counts))


def test_vesper_trains_and_every_parameter_has_a_gradient(objective: Distillation) -> None:
    batch = batch_of(2)
    objective.distiller.zero_grad()
    objective.loss(objective.distiller(*objective.inputs(batch, 1, 0)), objective.counts(batch)).backward()
    assert [name for name, p in objective.distiller.named_parameters() if p.requires_grad and p.grad is None] == []


def test_soft_labels_of_the_teachers_head_are_learnt_and_kept(tmp_path: Path) -> None:
    labels = ["angry", "unuse_0", "sad", "happy"]
    teacher = save_teacher(tmp_path / "t", labels=labels, **LOGMEL)
    config = student_config(teacher, "loss.soft=2", "loss.temperature=3", "target.layers=[1]")
    objective, _ = build_distillation(config, torch.device("cpu"), lambda line: None)
    assert objective.description()["labels"] == ["angry", "sad", "happy"]
    batch = batch_of(3)
    inputs = objective.inputs(batch, 1, 0)
    output, counts = objective.distiller(*inputs), objective.counts(batch)
    model, student = objective.teacher.model, objective.distiller.student
    with torch.no_grad():
        theirs = (model.scores(model(batch.waveforms))[:, [0, 2, 3]] / 3).softmax(dim=1)
        assert student.head is not None
        own = (student.head(student(batch.waveforms).frames) / 3).log_softmax(dim=1)
        expected = 9 * (theirs * (theirs.log() - own)).sum(dim=1)
    torch.testing.assert_close(output.soft.detach(), expected.sum())
    metrics = objective.metrics(objective.sums([output]), counts)
    torch.testing.assert_close(torch.as_tensor(metrics["soft_loss"]).float(), expected.mean().float())
    without = objective.loss(output, counts) - 2 * output.soft / 3
    objective.config.loss.soft = 0.0
    torch.testing.assert_close(objective.loss(output, counts), without)
