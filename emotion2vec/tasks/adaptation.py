"""A classifier and clips of another world, unlabelled: where its scores are shifted there, and how many are of what.

Both have to be found together. Bringing every class's mean to the same height, as if the clips were evenly mixed, takes
a class that is frequent down; estimating the mixture from shifted scores takes the shift for a mixture.

N: clips (or windows of them). K: classes.
"""

from __future__ import annotations

import numpy as np

LEAST_CLIPS = 30
"""Fewer say too little about themselves."""

ALIKE = 0.9
"""From this share of clips on that get one label unadapted, they may well be of one emotion."""

SHIFT_CLIPS = 10.0
"""Clips' worth of belief that scores are not shifted."""
SHARE_CLIPS = 10.0
"""Clips' worth of belief that classes are evenly mixed."""
MEAN_CLIPS = 5.0
"""Clips' worth of belief in a class's mean as it was thought before."""
SPREAD_CLIPS = 20.0
"""Clips' worth of belief that scores spread around their class's mean alike in all directions."""
SPREAD = 0.3
"""Variance that they are believed to have then, where the variance of all scores is 1."""
SHARPNESS = 4.0
"""Scores of deviation 1 are multiplied by this where a class is guessed by them alone."""
ROUNDS, MIXTURE_ROUNDS = 5, 3
"""Few, since a mixture left to itself ends at whatever clusters there are."""


def adapted(scores: np.ndarray) -> np.ndarray:
    """Probabilities of classes after what the clips say of themselves together, (N, K) float64.

    First scores are shifted so that the classes' means, not the clips', are alike: classes are guessed with the shares
    that EM finds (Saerens et al., 2002), means taken of the guesses, and so on. Then the guesses start a mixture of
    Gaussians of one covariance, a few steps of EM. Everything is shrunk, n against n + k, towards scores as they are
    and an even mixture. The constants were chosen on predictions of logistic regression for corpora that were not in
    its training (`docs/extraction.md`).

    Args:
        scores: (N, K) logits, or logarithms of probabilities.
    """
    count, classes = scores.shape
    rows = scores - scores.mean(axis=1, keepdims=True)  # a constant on all classes says nothing
    middle = rows.mean(axis=0)
    spread = float((rows - middle).std())
    if spread < 1e-6:  # all clips are one and the same
        return _softmax(scores)
    rows, middle = rows / spread, middle / spread
    trusted = count / (count + SHIFT_CLIPS)
    even, shift = np.full(classes, 1 / classes), middle
    for _ in range(ROUNDS):
        guessed = _softmax(SHARPNESS * (rows - trusted * shift))  # (N, K)
        guessed = with_shares(guessed, estimate_shares(guessed))
        means = _means(rows, guessed, np.broadcast_to(middle, (classes, classes)))  # (K, K)
        shift = means.mean(axis=0)
    believed = means
    for _ in range(MIXTURE_ROUNDS):
        shares = (guessed.sum(axis=0) + SHARE_CLIPS * even) / (count + SHARE_CLIPS)
        means = _means(rows, guessed, believed)
        guessed = _softmax(np.log(shares) - 0.5 * _distances(rows, means, guessed))
    return guessed


def estimate_shares(probabilities: np.ndarray) -> np.ndarray:
    """Shares of classes (K,) among clips, from probabilities (N, K) that hold where classes are evenly mixed.

    EM for the prior (Saerens et al., 2002), with `SHARE_CLIPS` that are evenly mixed beside the real ones.
    """
    count, classes = probabilities.shape
    shares = even = np.full(classes, 1 / classes)
    for _ in range(100):
        found = with_shares(probabilities, shares).sum(axis=0)
        before, shares = shares, (found + SHARE_CLIPS * even) / (count + SHARE_CLIPS)
        if np.abs(shares - before).max() < 1e-6:
            break
    return shares


def with_shares(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) where classes have these shares (K,), from those where they are evenly mixed."""
    joint = probabilities * shares
    return joint / joint.sum(axis=1, keepdims=True)


def alike(probabilities: np.ndarray) -> tuple[int, float] | None:
    """The class that most clips are labelled with, and their share, where that is suspiciously large; else None.

    Args:
        probabilities: (N, K) as they are before adaptation.
    """
    counts = np.bincount(probabilities.argmax(axis=1))
    share = float(counts.max() / counts.sum())
    return (int(counts.argmax()), share) if share >= ALIKE else None


def _means(rows: np.ndarray, guessed: np.ndarray, believed: np.ndarray) -> np.ndarray:
    """Mean scores of each class (K, K), shrunk towards what is believed (K, K)."""
    counts = guessed.sum(axis=0)[:, None]  # (K, 1)
    means: np.ndarray = (guessed.T @ rows + MEAN_CLIPS * believed) / (counts + MEAN_CLIPS)
    return means


def _distances(rows: np.ndarray, means: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    """Squared distances (N, K) of clips from the means of classes, in units of their common spread around them."""
    apart = rows[:, None] - means  # (N, K, K)
    covariance = np.einsum("nk,nki,nkj->ij", guessed, apart, apart)
    covariance += SPREAD_CLIPS * SPREAD * np.eye(len(means))
    inverse = np.linalg.inv(covariance / (len(rows) + SPREAD_CLIPS))
    distances: np.ndarray = np.einsum("nki,ij,nkj->nk", apart, inverse, apart)
    return distances


def _softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return shares
