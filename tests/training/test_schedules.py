from __future__ import annotations

import math

import pytest
import torch
from networks import tiny_config

from emotion2vec.pretrain.config import EmaConfig
from emotion2vec.pretrain.ema import ema_decay
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.training.config import OptimConfig
from emotion2vec.training.optimizer import build_optimizer, set_learning_rate
from emotion2vec.training.schedules import learning_rate


def test_learning_rate_is_warm_up_and_cosine() -> None:
    config = OptimConfig(lr=2.0, warmup_updates=10, max_updates=110)
    assert learning_rate(1, config) == pytest.approx(0.2)
    assert learning_rate(10, config) == 2.0
    assert learning_rate(60, config) == pytest.approx(1.0)
    assert learning_rate(35, config) == pytest.approx(1 + math.cos(math.pi / 4))
    assert learning_rate(110, config) == pytest.approx(0.0)
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


def test_adam_undoes_a_factor_on_gradients() -> None:
    moved = []
    for factor in (1.0, 0.1):
        weight = torch.nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.AdamW([weight], lr=0.1, eps=1e-6, weight_decay=0.0)
        weight.grad = factor * torch.tensor([1.0, -2.0, 0.5])
        optimizer.step()
        moved.append(weight.detach().clone())
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=0)
