from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test

from emotion2vec.tasks.metrics import (
    MAIN_SCORES,
    concordance_scores,
    mean_concordance,
    moments,
    scores,
    unweighted_accuracy,
)
from emotion2vec.tasks.significance import Comparison, bootstrap_intervals, compare, format_p, least_p

Statistics = dict[tuple[object, str], np.ndarray]


def right_of(right: int, clips: int) -> np.ndarray:
    """A confusion matrix of one class that is right so many times, and a second class that always is."""
    return np.array([[right, clips - right], [0, clips]])


def ua(found: Statistics) -> float:
    """The reported score: the mean over parts of UA."""
    parts: dict[object, np.ndarray] = {}
    for (part, _), values in found.items():
        parts[part] = parts.get(part, 0) + values
    return float(np.mean([scores(values)["UA"] for values in parts.values()]))


def compared(first: Statistics, second: Statistics) -> Comparison:
    found = compare(first, second, unweighted_accuracy)
    assert found is not None
    return found


def random_statistics(seed: int, speakers: int, chance: float, folds: int = 3) -> Statistics:
    random = np.random.default_rng(seed)
    rows = [np.roll([chance, (1 - chance) / 2, (1 - chance) / 2], shift) for shift in range(3)]
    return {
        (number % folds, f"s{number}"): np.stack([random.multinomial(12, row) for row in rows])
        for number in range(speakers)
    }


def test_every_swap_of_whole_confusions_is_counted() -> None:
    first, second = random_statistics(0, 7, 0.5), random_statistics(1, 7, 0.3)
    observed, extreme = ua(first) - ua(second), []
    for swapped in product([False, True], repeat=7):
        other = {key: swapped[int(key[1][1:])] for key in first}
        ours = {key: second[key] if other[key] else first[key] for key in first}
        theirs = {key: first[key] if other[key] else second[key] for key in first}
        extreme.append(abs(ua(ours) - ua(theirs)) >= abs(observed) - 1e-9)
    found = compared(first, second)
    assert found.difference == pytest.approx(observed)
    assert found.p == pytest.approx(np.mean(extreme))


@pytest.mark.parametrize("pairs", [5, 9])
def test_one_speaker_a_fold_is_scipys_exact_test(pairs: int) -> None:
    random = np.random.default_rng(pairs)
    first, second = (
        {(n, f"s{n}"): right_of(int(k), 40) for n, k in enumerate(random.integers(0, 41, pairs))} for _ in "ab"
    )
    mine = [np.array([scores(values)["UA"] for values in found.values()]) for found in (first, second)]

    def mean_difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x - y, axis=axis)

    expected = permutation_test(tuple(mine), mean_difference, permutation_type="samples", n_resamples=np.inf)
    assert compared(first, second).p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("pairs", [2, 5, 14])
def test_no_p_of_few_speakers_is_below_the_least(pairs: int) -> None:
    right, wrong = ({(0, f"s{n}"): right_of(count, 40) for n in range(pairs)} for count in (40, 0))
    found = compared(right, wrong)
    assert found.p == found.least_p == 2 / 2**pairs


def test_few_large_and_many_small_speakers_do_not_turn_the_sign() -> None:
    """The many small speakers are a little better under the second; the clips, and so the score, are not."""
    first, second = {}, {}
    for fold in range(2):
        for number in range(2):
            first[fold, f"large{fold}{number}"] = right_of(280, 400)
            second[fold, f"large{fold}{number}"] = right_of(240 if number else 275, 400)
        for number in range(20):
            first[fold, f"small{fold}{number}"] = right_of(2, 5)
            second[fold, f"small{fold}{number}"] = right_of(3, 5)
    own = [np.mean([scores(values)["UA"] for values in found.values()]) for found in (first, second)]
    assert own[0] < own[1]  # what speakers' own scores would say
    found = compared(first, second)
    assert found.difference == pytest.approx(ua(first) - ua(second)) and found.difference > 0
    assert found.p > 0.2
    assert found.interval[0] < 0 < found.interval[1]
    swapped = compared(second, first)
    assert (swapped.difference, swapped.p) == (pytest.approx(-found.difference), found.p)
    assert swapped.interval == pytest.approx((-found.interval[1], -found.interval[0]))


def test_many_speakers() -> None:
    same, other, better = (random_statistics(seed, 40, chance) for seed, chance in ((0, 0.5), (1, 0.5), (2, 0.9)))
    assert compared(same, same) == Comparison(0.0, (0.0, 0.0), 1.0, 1 / 10_001)
    assert compared(same, other).p > 0.05
    found = compared(better, same)
    assert found.p == pytest.approx(1 / 10_001)  # of 10,000 random swaps and none, none alone is as extreme
    assert 0 < found.interval[0] < found.difference < found.interval[1]


def test_the_interval_follows_the_normal_approximation() -> None:
    random = np.random.default_rng(0)
    first, second = (
        {(n, f"s{n}"): right_of(int(k), 50) for n, k in enumerate(random.binomial(50, p, 300))} for p in (0.7, 0.6)
    )
    each = np.array([scores(first[key])["UA"] - scores(second[key])["UA"] for key in first])
    half = 1.96 * each.std() / np.sqrt(300)
    assert compared(first, second).interval == pytest.approx((each.mean() - half, each.mean() + half), abs=0.1)


def test_what_only_one_has_is_left_out() -> None:
    first, second = random_statistics(0, 6, 0.5), random_statistics(1, 8, 0.5)
    assert compared(first, second).difference == pytest.approx(ua(first) - ua({key: second[key] for key in first}))
    assert compare({(0, "s0"): right_of(1, 2)}, second, unweighted_accuracy) is None


def test_a_speaker_with_one_clip_counts_in_a_fold_and_has_no_ccc_alone() -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal((41, 2))
    heard, noisy = truth + 0.3 * random.standard_normal((41, 2)), truth + 2 * random.standard_normal((41, 2))
    rows = [np.arange(10 * n, 10 * n + 10) for n in range(4)] + [np.array([40])]
    alone = moments(truth[rows[4]], heard[rows[4]])
    assert concordance_scores(alone[0])["CCC"] is None and np.isnan(mean_concordance(alone))
    for folds in ([0, 0, 0, 0, 0], [0, 1, 2, 3, 4]):  # in one fold with others, and as a fold of its own
        first, second = (
            {
                (fold, f"s{n}"): moments(truth[row], found[row])
                for n, (fold, row) in enumerate(zip(folds, rows, strict=True))
            }
            for found in (heard, noisy)
        )
        result = compare(first, second, mean_concordance)
        assert result is not None and result.difference > 0.3 and result.interval[0] > 0


def test_a_fold_without_a_score_in_a_resample_leaves_the_others() -> None:
    """A fold of four clips has a CCC only where two are drawn; else the other fold, without a difference, counts.

    That is so in 8 % of the resamples; in 1 % none of the four is drawn.
    """
    truth = np.random.default_rng(0).standard_normal((14, 1))
    rows = {(0, f"s{n}"): truth[2 * n : 2 * n + 2] for n in range(5)}
    same = {key: moments(found, found) for key, found in rows.items()}
    alone = {(1, f"t{n}"): truth[10 + n : 11 + n] for n in range(4)}
    one, other = ({key: moments(found, sign * found) for key, found in alone.items()} for sign in (1, -1))
    result = compare(same | one, same | other, mean_concordance)
    assert result is not None and result.difference > 0 and result.interval[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_part_without_a_score_leaves_all_others_wherever_it_stands(place: int) -> None:
    truth = np.random.default_rng(0).standard_normal((31, 1))
    alone = moments(truth[30:], truth[30:])
    sums = [moments(found, sign * found) for found, sign in zip(np.split(truth[:30], 3), (1, -1, 1), strict=True)]
    first, second = ([*found[:place], alone, *found[place:]] for found in ([sums[0]] * 3, sums))
    named = ({(number, "abcd"[number]): one for number, one in enumerate(found)} for found in (first, second))
    result = compare(*named, mean_concordance)  # type: ignore[misc]
    assert result is not None
    assert result.difference == pytest.approx(1 - np.mean([concordance_scores(one[0])["CCC"] for one in sums]))


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0001, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0994, "0.099"), (0.1, "0.10"), (1.0, "1.00")],
)
def test_p_has_as_many_digits_as_it_deserves(p: float, shown: str) -> None:
    assert format_p(Comparison(1.0, (0.5, 1.5), p, 0.0001)) == shown
    assert format_p(None) == ""


@pytest.mark.parametrize(("speakers", "least"), [(2, 0.5), (14, 2 / 2**14), (15, 1 / 10_001), (400, 1 / 10_001)])
def test_the_least_p_of_so_many_speakers(speakers: int, least: float) -> None:
    assert least_p(speakers) == pytest.approx(least)


def test_scores_of_many_are_those_of_each() -> None:
    random = np.random.default_rng(0)
    confusions = random.integers(0, 4, (50, 3, 3))
    confusions[:9, 1] = 0
    assert unweighted_accuracy(confusions) == pytest.approx([scores(c)["UA"] for c in confusions])
    assert np.isnan(unweighted_accuracy(np.zeros((3, 3))))
    sums = np.stack([moments(*random.standard_normal((2, 20, 2))) for _ in range(9)])  # (9, 2, 7)
    each = [np.mean([concordance_scores(row)["CCC"] for row in one]) for one in sums]
    assert MAIN_SCORES["CCC"](sums) == pytest.approx(each)


def test_intervals_follow_the_normal_approximation() -> None:
    random = np.random.default_rng(0)
    right = random.binomial(50, 0.7, 400)  # of 50 clips each, of 400 speakers
    confusions = np.stack([np.array([[k, 50 - k], [0, 0]]) for k in right])
    low, high = bootstrap_intervals(confusions)["WA"]
    rates = 100 * right / 50
    half = 1.96 * rates.std() / np.sqrt(400)
    assert (low, high) == (pytest.approx(rates.mean() - half, abs=0.1), pytest.approx(rates.mean() + half, abs=0.1))
    assert bootstrap_intervals(confusions[:1])["WA"] == (rates[0], rates[0])
