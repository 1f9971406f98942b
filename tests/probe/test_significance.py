from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from emotion2vec.probe.significance import bootstrap_intervals, paired_permutation_test


@pytest.mark.parametrize("pairs", [5, 9])
def test_the_exact_test_is_scipys(pairs: int) -> None:
    random = np.random.default_rng(pairs)
    first, second = random.normal(0.5, 1, pairs), random.normal(0, 1, pairs)

    def mean_difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    expected = permutation_test((first, second), mean_difference, permutation_type="samples", n_resamples=np.inf)
    assert paired_permutation_test(first, second) == pytest.approx(expected.pvalue)


def test_many_pairs() -> None:
    random = np.random.default_rng(0)
    same, other = random.normal(size=40), random.normal(size=40)
    assert paired_permutation_test(same, same) == 1.0
    assert paired_permutation_test(same, other) > 0.05
    assert paired_permutation_test(same + 1, same + random.normal(0, 0.1, 40)) < 0.001
    with pytest.raises(ValueError, match="paired"):
        paired_permutation_test(same, same[1:])


def test_intervals_follow_the_normal_approximation() -> None:
    random = np.random.default_rng(0)
    right = random.binomial(50, 0.7, 400)  # of 50 clips each, of 400 speakers
    confusions = np.stack([np.array([[k, 50 - k], [0, 0]]) for k in right])
    low, high = bootstrap_intervals(confusions)["WA"]
    rates = 100 * right / 50
    half = 1.96 * rates.std() / np.sqrt(400)
    assert (low, high) == (pytest.approx(rates.mean() - half, abs=0.1), pytest.approx(rates.mean() + half, abs=0.1))
    assert bootstrap_intervals(confusions[:1])["WA"] == (rates[0], rates[0])
