from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from networks import tiny_config

from emotion2vec.pretrain.config import EmaConfig
from emotion2vec.pretrain.ema import ema_decay
from emotion2vec.pretrain.metrics import UpdateSums
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.training.config import OptimConfig
from emotion2vec.training.metrics import Moments
from emotion2vec.training.optimizer import build_optimizer, set_learning_rate
from emotion2vec.training.schedules import learning_rate


def test_learning_rate_is_warm_up_and_cosine() -> None:
    config = OptimConfig(lr=2.0, warmup_updates=10, max_updates=110)
    assert learning_rate(1, config) == pytest.approx(0.2)
    assert learning_rate(10, config) == 2.0
    assert learning_rate(60, config) == pytest.approx(1.0)
    assert learning_rate(35, config) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(110, config) == pytest.approx(0.0)
    assert learning_rate(160, config) == pytest.approx(0.0)  # and stays there
    short = OptimConfig(lr=2.0, warmup_updates=5_000, max_updates=20)  # warm-up of a tenth
    assert [learning_rate(n, short) for n in (1, 2, 11, 20)] == pytest.approx([1.0, 2.0, 1.0, 0.0])
    assert learning_rate(1, OptimConfig(lr=2.0, warmup_updates=1, max_updates=1)) == pytest.approx(0.0)
    assert learning_rate(1, OptimConfig(lr=2.0, warmup_updates=0, max_updates=2)) == pytest.approx(1.0)


def test_ema_decay_is_linear_then_constant() -> None:
    config = EmaConfig(decay=0.9, end_decay=1.0, anneal_updates=100)
    assert [ema_decay(n, config) for n in (0, 50, 100, 1000)] == pytest.approx([0.9, 0.95, 1.0, 1.0])
    assert ema_decay(1, EmaConfig(anneal_updates=0)) == 0.99999


def test_optimizer_groups() -> None:
    config = tiny_config("optim.weight_decay=0.5", "optim.cnn_lr_scale=0.1")
    model = Pretrainer(config)
    groups = Pretraining(config, model, torch.device("cpu")).parameter_groups()
    optimizer = build_optimizer(groups, config.optim)
    set_learning_rate(optimizer, 2.0)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    names = {id(p): n for n, p in model.named_parameters() if p.requires_grad}
    assert set(found) == set(names)
    for key, name in names.items():
        shape = dict(model.named_parameters())[name].shape
        in_cnn = name.startswith("student.frontend.layers.")
        assert found[key] == (pytest.approx(0.2 if in_cnn else 2.0), 0.5 if len(shape) > 1 else 0.0), name


@pytest.mark.parametrize("update", [1, 2, 9, 10, 11, 40])
def test_the_teacher_moves_by_the_decay_of_the_update_that_was_done(update: int) -> None:
    """From 0.5 to 0.9 in ten updates; the student is one ahead of the teacher everywhere."""
    config = tiny_config("ema.decay=0.5", "ema.end_decay=0.9", "ema.anneal_updates=10")
    pretrainer = Pretrainer(config)
    objective = Pretraining(config, pretrainer, torch.device("cpu"))
    before = {name: value.clone() for name, value in pretrainer.teacher.named_parameters()}
    with torch.no_grad():
        for parameter in pretrainer.student.parameters():
            parameter.add_(1.0)
    moments = Moments.of(torch.randn(3, 32))
    objective.after_step(update, UpdateSums(torch.zeros(2), moments, moments, moments, torch.eye(32).double()))
    decay = float(np.interp(update, [0, 10], [0.5, 0.9]))
    for name, value in pretrainer.teacher.named_parameters():
        torch.testing.assert_close(value, before[name] + (1 - decay), msg=lambda text, n=name: f"{n}: {text}")
    assert objective.scheduled(update) == {"ema_decay": pytest.approx(decay)}
    seen = pretrainer.utterance_target.utterances.item()
    assert seen == (0 if update == 1 else 3)  # those of the first update were taken in before it
