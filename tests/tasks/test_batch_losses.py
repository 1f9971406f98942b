"""Losses over a whole update against loops and formulas, and their gradients by parts against those of one pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emotion2vec.tasks.batch_losses import concordance_loss, whole_gradient
from emotion2vec.tasks.metrics import concordance


@pytest.fixture
def values() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(20, 3, generator=generator)
    return truth + torch.randn(20, 3, generator=generator), truth


def test_the_loss_of_values_is_one_minus_the_metric(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    found, truth = values
    expected = 1 - concordance(truth.numpy(), found.numpy()).mean()
    assert concordance_loss(found, truth).item() == pytest.approx(expected, abs=1e-6)


def test_weights_of_values_are_repetitions(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    found, truth = values
    times = torch.tensor([1, 2, 3, 1] * 5)
    repeated = concordance_loss(found.repeat_interleave(times, 0), truth.repeat_interleave(times, 0))
    torch.testing.assert_close(concordance_loss(found, truth, times.float()), repeated)
    torch.testing.assert_close(concordance_loss(found, truth, 7 * times.float()), repeated)


def test_gradients_by_parts_are_those_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, truth = torch.randn(10, 6, generator=generator), torch.randn(10, 3, generator=generator)

    def of(outputs: torch.Tensor) -> torch.Tensor:
        return concordance_loss(outputs, truth)

    network = nn.Linear(6, 3)
    value = of(network(inputs))
    value.backward()
    whole = network.weight.grad
    network.zero_grad()
    with torch.no_grad():
        outputs = torch.cat([network(part) for part in inputs.split(4)])
        found, gradient = whole_gradient(of, outputs)
    for part, back in zip(inputs.split(4), gradient.split(4), strict=True):
        (network(part) * back).sum().backward()
    torch.testing.assert_close(found, value.detach())
    torch.testing.assert_close(network.weight.grad, whole)
