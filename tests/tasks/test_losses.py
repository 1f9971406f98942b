"""Losses against formulas and scikit-learn, and what scores of a head are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from emotion2vec.tasks.losses import ClassCriterion, ValueCriterion, criterion_for

CPU = torch.device("cpu")


def lins_ccc(x: np.ndarray, y: np.ndarray) -> float:
    """2 s_xy / (s_x² + s_y² + (m_x − m_y)²)."""
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_classes_are_trained_with_cross_entropy_also_against_distributions() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 30)
    criterion = criterion_for(labels, CPU)
    assert isinstance(criterion, ClassCriterion) and criterion.units is None
    scores = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    loss = criterion.loss(scores, criterion.targets(labels))
    assert loss.item() == pytest.approx(log_loss(labels, scores.softmax(dim=1).numpy(), labels=range(4)), rel=1e-5)
    soft = torch.eye(4)[labels] * 0.7 + 0.3 / 4
    others = -scores.log_softmax(dim=1).mean(dim=1)
    torch.testing.assert_close(criterion.loss(scores, soft), 0.7 * loss + 0.3 * others.mean())
    answers = criterion.answers(scores).numpy()
    np.testing.assert_allclose(np.exp(answers).sum(axis=1), 1, rtol=1e-5)
    assert criterion.score(answers, labels) == np.mean(scores.numpy().argmax(axis=1) == labels)


def test_values_are_trained_with_one_minus_ccc_of_standardized_values() -> None:
    labels = 4 + np.random.default_rng(0).standard_normal((60, 2)) * [1, 10]
    criterion = criterion_for(labels, CPU)
    assert isinstance(criterion, ValueCriterion)
    scores = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = criterion.loss(scores, criterion.targets(labels[:30]))
    scaled = StandardScaler().fit(labels).transform(labels[:30])
    expected = 1 - np.mean([lins_ccc(scaled[:, q], scores.detach().numpy()[:, q]) for q in range(2)])
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    answers = criterion.answers(torch.from_numpy(scaled).float()).numpy()
    np.testing.assert_allclose(answers, labels[:30], rtol=1e-4)
    assert criterion.score(answers, labels[:30]) == pytest.approx(1, abs=1e-5)
    alone = criterion.loss(torch.zeros(1, 2), criterion.targets(labels[:1]))
    assert alone.item() == pytest.approx((scaled[0] ** 2).mean(), rel=1e-4)
