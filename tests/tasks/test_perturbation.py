"""Adversarial waveforms against their definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from emotion2vec.tasks.perturbation import adversarial


def test_one_step_is_the_sign_of_the_gradient() -> None:
    """Of a linear model of two classes the gradient is known: weights times what is missing to 1."""
    weight = torch.tensor([[1.0, -2.0, 0.0, 3.0]])
    waveforms = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loud = waveforms * torch.tensor([[1.0], [50.0]])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return functional.softplus(-(x / torch.tensor([[1.0], [50.0]]) @ weight.T)).sum()  # of the true class

    found = adversarial(loud, loss, 0.1)
    power = loud.square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(found, (loud - 0.1 * power * weight.sign()).detach())
    assert not found.requires_grad
    padding = torch.tensor([[False, False, False, True], [False] * 4])
    kept = adversarial(loud, loss, 0.1, padding=padding)
    assert kept[0, 3] == loud[0, 3] and kept[1, 3] != loud[1, 3]
    of_three = 0.1 * loud[0, :3].square().mean().sqrt()
    torch.testing.assert_close((kept - loud)[0, :2].abs(), of_three.expand(2))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_more_steps_stay_inside_and_are_worse(mode: type) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    waveforms, labels = torch.randn(64, 20), torch.randint(3, (64,))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(network(x), labels, reduction="sum")

    with mode():  # as a validation would
        heard = waveforms.clone()
        fast, slow = (adversarial(heard, loss, 0.3, steps=steps) for steps in (1, 20))
        assert loss(slow) > loss(fast) > loss(heard)
        bound = 0.3 * heard.square().mean(dim=1, keepdim=True).sqrt()
        for changed in (fast, slow):
            assert ((changed - heard).abs() <= bound * (1 + 1e-5)).all()
    assert all(parameter.grad is None for parameter in network.parameters())
