"""Mixed representations, reversed gradients and adversarial inputs against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from emotion2vec.tasks.class_losses import ClassLoss, distributions
from emotion2vec.tasks.perturbation import Mixup, adversarial, reversal_strength, reverse_gradient


def test_mixtures_share_layers_and_labels_alike() -> None:
    mixup = Mixup.draw(6, 0.2, np.random.default_rng(0))
    assert sorted(mixup.partners.tolist()) == list(range(6))
    frames = torch.randn(6, 3, 2)
    for row, mixed in enumerate(mixup.apply(frames)):
        share, partner = mixup.shares[row], mixup.partners[row]
        torch.testing.assert_close(mixed, share * frames[row] + (1 - share) * frames[partner])
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    mixed = mixup.apply(distributions(labels, 3).float())
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(6))
    scores = torch.randn(6, 3)
    each = [functional.cross_entropy(scores, wanted, reduction="none") for wanted in (labels, labels[mixup.partners])]
    expected = mixup.shares * each[0] + (1 - mixup.shares) * each[1]
    torch.testing.assert_close(ClassLoss().rows(scores, mixed), expected)


def test_shares_are_drawn_from_a_beta_distribution() -> None:
    shares = Mixup.draw(20_000, 0.2, np.random.default_rng(0)).shares.numpy()
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.02)


def test_reversed_gradients_are_negative_and_values_the_same() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    reversed_ = reverse_gradient(x, 0.3)
    torch.testing.assert_close(reversed_, x)
    (reversed_ * torch.arange(4.0)).sum().backward()
    torch.testing.assert_close(x.grad, -0.3 * torch.arange(4.0).expand(3, 4))
    assert reversal_strength(0.0) == 0
    assert reversal_strength(0.1) == pytest.approx(np.tanh(0.5))
    assert reversal_strength(1.0) == pytest.approx(1, abs=1e-4)


def test_one_step_is_the_sign_of_the_gradient() -> None:
    """Of a linear model of two classes the gradient is known: weights times what is missing to 1."""
    weight = torch.tensor([[1.0, -2.0, 0.0, 3.0]])
    waveforms = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return functional.softplus(-(x @ weight.T)).sum()  # of the true class

    found = adversarial(waveforms, loss, 0.1)
    torch.testing.assert_close(found, (waveforms - 0.1 * weight.sign()).detach())
    assert not found.requires_grad
    padding = torch.tensor([[False, False, False, True], [False] * 4])
    kept = adversarial(waveforms, loss, 0.1, padding=padding)
    assert kept[0, 3] == waveforms[0, 3] and kept[1, 3] != waveforms[1, 3]


def test_more_steps_stay_inside_and_are_worse() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    waveforms, labels = torch.randn(64, 20), torch.randint(3, (64,))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(network(x), labels, reduction="sum")

    with torch.no_grad():  # as a validation would
        fast, slow = (adversarial(waveforms, loss, 0.3, steps=steps) for steps in (1, 20))
        assert loss(slow) > loss(fast) > loss(waveforms)
    for changed in (fast, slow):
        assert (changed - waveforms).abs().max() <= 0.3 + 1e-6
    assert all(parameter.grad is None for parameter in network.parameters())
