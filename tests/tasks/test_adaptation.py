"""Adaptation to clips of another world, on clips that are drawn from a known one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from emotion2vec.tasks.adaptation import SHARE_CLIPS, adapted, alike, estimate_shares, with_shares

MEANS = 2.0 * np.eye(4) + np.array([[0, 0.5, 0, 0], [0.5, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0.5, 0]])
"""Scores of four classes that are told apart with some confusion."""
SHIFT = np.array([2.5, -1.0, 0.5, -2.0])
"""How much higher a class's scores are in the other world."""


def drawn(shares: list[float], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, 4) that are logits where classes are evenly mixed, and labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, count, p=shares)
    return MEANS[labels] + rng.normal(0, 1, (count, 4)), labels


def right(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == labels))


EVEN, SKEWED = [0.25] * 4, [0.7, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(("shares", "count", "gap"), [(EVEN, 300, 0.03), (SKEWED, 300, 0.06), (EVEN, 40, 0.08)])
def test_what_a_shift_takes_is_won_back(shares: list[float], count: int, gap: float) -> None:
    """Nearly as good as who knows shift and shares; much better than scores as they are, or standardized."""
    found = []
    for seed in range(20):
        scores, labels = drawn(shares, count, seed)
        shifted = scores + SHIFT
        standardized = (shifted - shifted.mean(axis=0)) / shifted.std(axis=0)
        knowing = with_shares(softmax(_bayes(scores), axis=1), np.array(shares))
        found.append([right(one, labels) for one in (adapted(shifted), knowing, shifted, standardized)])
    ours, best, plain, standard = np.mean(found, axis=0)
    assert ours > best - gap
    assert ours > plain + 0.05
    assert ours > standard - 0.02 if shares is EVEN else ours > standard + 0.1


def _bayes(scores: np.ndarray) -> np.ndarray:
    """Log-likelihoods of the classes, whose noise is of variance 1."""
    return -0.5 * np.square(scores[:, None] - MEANS).sum(axis=2)


def test_without_a_shift_little_is_lost() -> None:
    found = []
    for seed in range(20):
        scores, labels = drawn(EVEN, 100, seed)
        found.append([right(adapted(scores), labels), right(scores, labels)])
    ours, plain = np.mean(found, axis=0)
    assert ours > plain - 0.02


def test_scale_and_what_all_classes_share_make_no_difference() -> None:
    scores, _ = drawn(SKEWED, 60, 0)
    constants = np.random.default_rng(1).normal(size=(60, 1))
    np.testing.assert_allclose(adapted(3 * scores + constants), adapted(scores), atol=1e-9)
    np.testing.assert_allclose(adapted(log_softmax(scores, axis=1)), adapted(scores), atol=1e-9)
    np.testing.assert_allclose(adapted(scores[:, ::-1]), adapted(scores)[:, ::-1], atol=1e-9)
    np.testing.assert_allclose(adapted(scores).sum(axis=1), 1)


def test_a_class_that_is_absent_gets_few_clips() -> None:
    scores, _ = drawn([0.4, 0.3, 0.3, 0.0], 300, 0)
    assert np.mean(adapted(scores + SHIFT).argmax(axis=1) == 3) < 0.1


def test_shares_are_the_most_likely_ones() -> None:
    """EM's end against scipy's optimum of the same likelihood, with evenly mixed clips beside the real ones."""
    scores, labels = drawn(SKEWED, 200, 0)
    probabilities = softmax(_bayes(scores), axis=1)

    def loss(free: np.ndarray) -> float:
        shares = softmax(free)
        return -np.log(probabilities @ shares).sum() - SHARE_CLIPS / 4 * np.log(shares).sum()

    expected = softmax(minimize(loss, np.zeros(4), tol=1e-12).x)
    found = estimate_shares(probabilities)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found, np.bincount(labels) / 200, atol=0.05)
    np.testing.assert_allclose(with_shares(probabilities, np.full(4, 0.25)), probabilities)


def test_clips_that_are_the_same_stay_as_they_are() -> None:
    scores = np.repeat([[1.0, 2.0, 0.0]], 30, axis=0)
    np.testing.assert_allclose(adapted(scores), softmax(scores, axis=1))
    assert np.isfinite(adapted(np.log(np.full((30, 3), 1e-30)))).all()


def test_clips_that_look_alike_are_noticed() -> None:
    probabilities = np.eye(3)[[1] * 27 + [0, 2, 2]]
    assert alike(probabilities) == (1, pytest.approx(0.9))
    assert alike(probabilities[1:]) is None
