"""Dropout against its closed formulas."""

from __future__ import annotations

import pytest
import torch

from emotion2vec.model.dropout import LEVELS, draw_kept, dropout


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_the_share_that_is_dropped(probability: float) -> None:
    torch.manual_seed(0)
    kept, factor = draw_kept((1000, 1001), probability)
    assert kept.dtype == torch.uint8 and kept.max() == 1
    deviation = (probability * (1 - probability) / kept.numel()) ** 0.5
    assert abs(kept.double().mean().item() - (1 - probability)) < 4 * deviation
    assert factor == pytest.approx(1 / (1 - probability), abs=factor**2 / LEVELS)


def test_a_probability_is_never_rounded_to_0_or_1() -> None:
    torch.manual_seed(0)
    assert draw_kept((4,), 1e-9)[1] > 1.0
    kept, factor = draw_kept((LEVELS * 64,), 1 - 1e-9)
    assert factor == LEVELS and 0 < kept.sum() < 200


def test_elements_are_dropped_independently_of_their_neighbours() -> None:
    """Also of those that share a random word, and of the same places of the next draw."""
    torch.manual_seed(1)
    first, second = (draw_kept((400_000,), 0.3)[0].double() - 0.7 for _ in range(2))
    for lag in range(1, 9):
        assert abs((first[lag:] * first[:-lag]).mean().item()) < 4 * 0.21 / 400_000**0.5
    assert abs((first * second).mean().item()) < 4 * 0.21 / 400_000**0.5
    for place in range(4):
        assert abs(first[place::4].mean().item()) < 4 * 0.21**0.5 / 100_000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (3, 5, 11), (0, 4)])
def test_what_stays_is_scaled_and_so_is_its_gradient(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    x = (torch.rand(shape) + 0.5).to(dtype).requires_grad_()
    dropped, grad = dropout(x, 0.25), torch.randn(shape).to(dtype)
    dropped.backward(grad)
    assert x.grad is not None and dropped.dtype == x.grad.dtype == dtype
    stays = (dropped != 0).to(dtype)
    torch.testing.assert_close(dropped, x * stays / 0.75)
    torch.testing.assert_close(x.grad, grad * stays / 0.75)


def test_the_generator_decides() -> None:
    x = torch.ones(1000)
    torch.manual_seed(3)
    one = dropout(x, 0.5)
    other = dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), one) and not torch.equal(one, other)


def test_nothing_is_dropped_outside_of_training() -> None:
    x = torch.ones(1000)
    assert dropout(x, 0.5, training=False) is x and dropout(x, 0.0) is x
