"""Losses of classes against torch's own and the formulas of their papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from emotion2vec.tasks.class_losses import ClassLoss, class_weights, distributions


@pytest.fixture
def scores() -> torch.Tensor:
    return 2 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 3, 0, 0, 0, 1, 1, 2, 0, 0])
SOFT = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(4), 12)).float()


@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(scores: torch.Tensor, targets: torch.Tensor, smoothing: float) -> None:
    rows = ClassLoss(smoothing=smoothing).rows(scores, targets)
    expected = functional.cross_entropy(scores, targets, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(rows, expected)


def test_divergence_is_torchs_and_has_the_gradients_of_cross_entropy(scores: torch.Tensor) -> None:
    soft = SOFT.clone()
    soft[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = {}
    for divergence in (True, False):
        leaf = scores.clone().requires_grad_(True)
        rows = ClassLoss(divergence=divergence).rows(leaf, soft)
        rows.sum().backward()
        found[divergence] = rows.detach(), leaf.grad
    expected = functional.kl_div(scores.log_softmax(dim=1), soft, reduction="none").sum(dim=1)
    torch.testing.assert_close(found[True][0], expected)
    torch.testing.assert_close(found[True][1], found[False][1])
    met = ClassLoss(divergence=True).rows(SOFT.log(), SOFT)
    torch.testing.assert_close(met, torch.zeros(12), atol=1e-6, rtol=0)


def test_focal_loss_is_its_formula(scores: torch.Tensor) -> None:
    right = scores.softmax(dim=1)[torch.arange(12), LABELS]
    torch.testing.assert_close(ClassLoss(focal=2.0).rows(scores, LABELS), -((1 - right) ** 2) * right.log())
    shares = scores.softmax(dim=1)
    expected = -(SOFT * (1 - shares) ** 0.5 * shares.log()).sum(dim=1)
    torch.testing.assert_close(ClassLoss(focal=0.5).rows(scores, SOFT), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_what_is_certain_has_gradients(gamma: float) -> None:
    certain = torch.tensor([[200.0, 0.0, 0.0, 0.0]], requires_grad=True)
    rows = ClassLoss(focal=gamma).rows(certain, torch.tensor([0]))
    rows.sum().backward()
    assert rows.item() == 0 and certain.grad is not None and certain.grad.isfinite().all()


def test_logit_adjustment_is_optimal_where_classes_are_balanced() -> None:
    """Trained to the end on what is drawn by shares π, plain scores are those of evenly drawn classes."""
    shares, likelihoods = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.5, 0.3])
    posterior = shares * likelihoods / (shares @ likelihoods)
    scores = torch.zeros(1, 3, requires_grad=True)
    loss, optimizer = ClassLoss(adjustment=1.0, shares=shares.tolist()), torch.optim.LBFGS([scores], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss.rows(scores, torch.from_numpy(posterior[None])).sum()
        value.backward()
        return value

    optimizer.step(closure)
    balanced = likelihoods / likelihoods.sum()
    np.testing.assert_allclose(scores.detach().softmax(dim=1)[0].numpy(), balanced, atol=1e-3)


def test_margins_are_the_formula_of_am_softmax() -> None:
    cosines, scale, margin = torch.rand(12, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1, 30.0, 0.2
    right = cosines[torch.arange(12), LABELS]
    raised = (scale * (right - margin)).exp()
    others = (scale * cosines).exp().sum(dim=1) - (scale * right).exp()
    found = ClassLoss(margin=scale * margin).rows(scale * cosines, LABELS)
    torch.testing.assert_close(found, -(raised / (raised + others)).log(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_class_weights_are_scikit_learns_to_a_power(power: float) -> None:
    labels = LABELS.numpy()
    counts = np.bincount(labels)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels) ** power
    np.testing.assert_allclose(class_weights(counts, power), expected)


def test_weighted_sums_are_torchs_and_add_up_over_micro_batches(scores: torch.Tensor) -> None:
    by_class = torch.tensor([0.5, 1.0, 2.0, 3.0])
    rows, weights = ClassLoss().rows(scores, LABELS), by_class[LABELS]
    whole = functional.cross_entropy(scores, LABELS, weight=by_class)
    parts = [(rows[part] * weights[part]).sum() for part in (slice(0, 5), slice(5, 6), slice(6, 12))]
    torch.testing.assert_close(sum(parts) / weights.sum(), whole)
    torch.testing.assert_close(distributions(LABELS, 4).argmax(dim=1), LABELS)
