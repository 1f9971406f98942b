"""Losses, statistics and monitored shares against plain formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from distil.students import LOGMEL, save_teacher, student_config
from networks import waveforms
from torch.nn import functional

from emotion2vec.distil.losses import clip_statistics, cosine_loss, frame_distance, soft_loss
from emotion2vec.distil.network import Distiller, DistilOutput
from emotion2vec.distil.objective import Distillation, DistilSums
from emotion2vec.distil.run import build_distillation
from emotion2vec.training.metrics import detached


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher") / "t", labels=["angry", "sad", "unuse_0"], **LOGMEL)


def build(teacher: Path, *more: str) -> Distillation:
    objective, _ = build_distillation(student_config(teacher, *more), torch.device("cpu"), lambda line: None)
    return objective


def test_distances_against_their_formulas() -> None:
    rng = np.random.default_rng(0)
    p, t = (rng.normal(size=(2, 5, 3)) for _ in range(2))
    prediction, target = torch.from_numpy(p), torch.from_numpy(t)
    np.testing.assert_allclose(frame_distance("mse", prediction, target), ((p - t) ** 2).mean(axis=2), rtol=1e-5)
    np.testing.assert_allclose(frame_distance("l1", prediction, target), abs(p - t).mean(axis=2), rtol=1e-5)
    cos = (p * t).sum(axis=2) / np.linalg.norm(p, axis=2) / np.linalg.norm(t, axis=2)
    np.testing.assert_allclose(cosine_loss(prediction, target), np.log1p(np.exp(-cos)), rtol=1e-5)
    np.testing.assert_allclose(clip_statistics(prediction)[0], p.mean(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(clip_statistics(prediction)[1], p.std(axis=1), rtol=1e-3)
    own, theirs = np.exp(p[:, 0] / 2), np.exp(t[:, 0] / 2)
    own, theirs = own / own.sum(axis=1, keepdims=True), theirs / theirs.sum(axis=1, keepdims=True)
    expected = 4 * (theirs * np.log(theirs / own)).sum(axis=1)
    np.testing.assert_allclose(soft_loss(prediction[:, 0], target[:, 0], 2.0), expected, rtol=1e-4)


def output_of(distiller: Distiller, layers: torch.Tensor, valid: torch.Tensor) -> DistilOutput:
    return distiller(waveforms(layers.shape[1], 16_000), layers, valid)


@pytest.mark.parametrize("more", [(), ("loss.distance=l1", "loss.cosine=0.7", "target.weights=[2,0.5]")])
def test_loss_and_explained_share_of_an_update_are_those_of_all_its_clips(teacher: Path, more: tuple[str, ...]) -> None:
    """Two batches of different lengths of the list, one clip not finite: means over the frames that are left."""
    objective = build(teacher, *more)
    config, distiller = objective.config, objective.distiller
    layers = 3 * torch.randn(2, 3, 50, 24) + 1
    layers[0, 1, 7, 3] = torch.nan
    valid = torch.tensor([True, False, True])
    outputs = [output_of(distiller, layers[:, :2], valid[:2]), output_of(distiller, layers[:, 2:], valid[2:])]
    counts = {"all": 150.0, "input": 0.0, "middle": 0.0, "clips": 3.0}
    metrics = objective.metrics(DistilSums.of([detached(output) for output in outputs]), counts)

    sound = [waveforms(2, 16_000)[:1], waveforms(1, 16_000)]
    seen = torch.cat([distiller.student(x).frames for x in sound])  # (2, T, V)
    expected = torch.zeros(())
    for place in range(2):
        target = layers[place, valid]
        target = target / (1 + 1e-8) ** 0.5  # no statistics yet: mean 0 and mean square 1
        prediction = distiller.predictors[place](seen)
        error = prediction - target
        distance = error.square() if config.loss.distance == "mse" else error.abs()
        pooled = [(a(prediction) - a(target)).square().mean() for a in (mean, deviation)]
        term = distance.mean() + config.loss.pooled * sum(pooled)
        if config.loss.cosine:
            term = (
                term
                - config.loss.cosine
                * functional.logsigmoid(functional.cosine_similarity(prediction, target, dim=2)).mean()
            )
        expected = expected + (config.target.weights or [1, 1])[place] * term
        share = 1 - error.square().mean() / target.flatten(0, 1).var(dim=0).mean()
        assert float(metrics[f"explained_share_{place + 2}"]) == pytest.approx(share.item(), rel=1e-4)
    assert float(metrics["loss"]) == pytest.approx(expected.item(), rel=1e-4)
    assert float(metrics["left_out"]) == 1
    optimized = sum(objective.loss(output, counts).item() for output in outputs)
    assert optimized == pytest.approx(expected.item() * 2 / 3, rel=1e-4)  # a clip that is left out still counts here


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=1)


def deviation(x: torch.Tensor) -> torch.Tensor:
    return (x.var(dim=1, unbiased=False) + 1e-5).sqrt()


def test_a_clip_that_is_not_finite_gives_no_gradient(teacher: Path) -> None:
    distiller = build(teacher).distiller
    layers, valid = torch.randn(2, 2, 50, 24), torch.tensor([True, False])
    layers[:, 1] = torch.nan
    grads = []
    for batch in (2, 1):
        distiller.zero_grad()
        output = output_of(distiller, layers[:, :batch], valid[:batch])
        (output.frame.sum() + output.pooled.sum()).backward()
        grads.append([p.grad.clone() for p in distiller.parameters() if p.grad is not None])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*grads, strict=True)) and grads[0]


def test_channels_are_standardized_by_running_statistics(teacher: Path) -> None:
    distiller = build(teacher).distiller
    scale = torch.logspace(-2, 2, 24)
    for number in range(3):
        rows = torch.randn(2, 4, 50, 24) * scale + 5 * scale
        distiller.take_in(output_of(distiller, rows, torch.ones(4, dtype=torch.bool)).layers)
        assert distiller.statistics[1].updates == number + 1
    found = distiller._standardized(torch.randn(4, 500, 24) * scale + 5 * scale, 0)
    torch.testing.assert_close(found.mean(dim=(0, 1)), torch.zeros(24), atol=0.15, rtol=0)
    torch.testing.assert_close(found.std(dim=(0, 1)), torch.ones(24), atol=0.15, rtol=0)
    before = distiller.statistics[0].mean.clone()
    distiller.take_in(output_of(distiller, rows, torch.zeros(4, dtype=torch.bool)).layers)
    assert torch.equal(distiller.statistics[0].mean, before)  # an update without any clip says nothing
