"""Losses over a whole update against loops and formulas, and their gradients by parts against those of one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from emotion2vec.tasks.batch_losses import concordance_loss, supervised_contrastive, whole_gradient
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


def looped(embeddings: np.ndarray, labels: list[int], temperature: float) -> list[float | None]:
    """Khosla et al. (2020), equation 2, as it stands; None for an utterance that has no partner."""
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows: list[float | None] = []
    for i, unit in enumerate(units):
        partners = [p for p in range(len(units)) if p != i and labels[p] == labels[i]]
        below = sum(np.exp(unit @ units[a] / temperature) for a in range(len(units)) if a != i)
        logs = [np.log(np.exp(unit @ units[p] / temperature) / below) for p in partners]
        rows.append(-float(np.mean(logs)) if partners else None)
    return rows


def test_supervised_contrast_is_its_formula_and_takes_weights() -> None:
    embeddings, labels = np.random.default_rng(0).normal(size=(9, 5)), [0, 0, 1, 2, 1, 1, 0, 3, 0]
    rows = looped(embeddings, labels, 0.2)
    counted = np.array([row is not None for row in rows])
    each = np.array([row or 0.0 for row in rows])
    tensors = torch.from_numpy(embeddings), torch.tensor(labels)
    assert supervised_contrastive(*tensors, 0.2).item() == pytest.approx(each[counted].mean(), rel=1e-5)
    weights = np.arange(1.0, 10.0)
    found = supervised_contrastive(*tensors, 0.2, torch.from_numpy(weights)).item()
    assert found == pytest.approx(np.average(each[counted], weights=weights[counted]), rel=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_contrast_without_pairs_is_nothing(count: int) -> None:
    embeddings = torch.randn(count, 4, requires_grad=True)
    loss = supervised_contrastive(embeddings, torch.arange(count))
    loss.backward()
    assert loss.item() == 0 and embeddings.grad is not None and not embeddings.grad.any()


@pytest.mark.parametrize("loss", ["values", "contrast"])
def test_gradients_by_parts_are_those_of_the_whole(loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, truth = torch.randn(10, 6, generator=generator), torch.randn(10, 3, generator=generator)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 2, 2, 0, 1])

    def of(outputs: torch.Tensor) -> torch.Tensor:
        return concordance_loss(outputs, truth) if loss == "values" else supervised_contrastive(outputs, labels)

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


def test_pairs_are_the_cross_entropy_of_their_likeness() -> None:
    """Two utterances per class: what is contrasted is a softmax over all others (Chen et al., 2020)."""
    embeddings = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    units = functional.normalize(embeddings, dim=1)
    likeness = (units @ units.T / 0.5).fill_diagonal_(float("-inf"))
    expected = functional.cross_entropy(likeness, torch.tensor([1, 0, 3, 2, 5, 4, 7, 6]))
    torch.testing.assert_close(supervised_contrastive(embeddings, torch.arange(4).repeat_interleave(2), 0.5), expected)
