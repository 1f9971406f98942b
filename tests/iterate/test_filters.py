"""What filters keep, against formulas and brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from emotion2vec.iterate.config import FilterSettings
from emotion2vec.iterate.filters import (
    BALANCE,
    CAP,
    KEPT,
    NO_CLASS,
    NO_TEXT,
    QUANTILE,
    SECOND,
    TEXT,
    UNREADABLE,
    WINDOWS,
    Opinions,
    refused,
)

OFF = FilterSettings(quantile=0.0)


def random_opinions(count: int = 200, classes: int = 4, seed: int = 0) -> Opinions:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(classes, 0.5), size=count)
    ids = [f"clip {place:03d}" for place in rng.permutation(count)]
    return Opinions(ids=ids, seconds=rng.uniform(1, 9, count), scores=scores, heard=np.ones(count, bool))


def nothing(opinions: Opinions) -> list[str]:
    return [KEPT] * len(opinions.ids)


def test_without_filters_everything_that_was_heard_is_kept() -> None:
    opinions = replace(random_opinions(), heard=np.arange(200) % 5 > 0)
    reasons = refused(opinions, OFF, nothing(opinions))
    assert [reason == KEPT for reason in reasons] == opinions.heard.tolist()
    assert set(reasons) == {KEPT, UNREADABLE}


@pytest.mark.parametrize("quantile", [0.3, 0.5, 0.97])
def test_a_quantile_is_of_each_class(quantile: float) -> None:
    opinions = random_opinions()
    reasons = refused(opinions, replace(OFF, quantile=quantile), nothing(opinions))
    for number in range(4):
        own = np.flatnonzero(opinions.scores.argmax(axis=1) == number)
        confidence = {place: round(float(opinions.scores[place].max()), 4) for place in own.tolist()}
        order = sorted(confidence, key=lambda place: (confidence[place], opinions.ids[place]))
        least = set(order[: math.floor(quantile * len(own))])
        assert {place for place in own.tolist() if reasons[place] == QUANTILE} == least


def test_a_class_of_few_clips_keeps_its_best_one() -> None:
    opinions = random_opinions()
    opinions = replace(opinions, scores=opinions.scores[:6], ids=opinions.ids[:6], heard=np.ones(6, bool))
    reasons = refused(opinions, replace(OFF, quantile=0.99), nothing(opinions))
    for number in np.unique(opinions.numbers):
        own = np.flatnonzero(opinions.numbers == number)
        assert [reasons[place] for place in own].count(KEPT) == 1
        assert reasons[own[opinions.confidence[own].argmax()]] == KEPT


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_a_quantile_is_of_equal_confidences_too(quantile: float) -> None:
    scores = np.tile([0.9, 0.1], (10, 1))
    opinions = Opinions(ids=list("jihgfedcba"), seconds=np.ones(10), scores=scores, heard=np.ones(10, bool))
    reasons = refused(opinions, replace(OFF, quantile=quantile), nothing(opinions))
    kept = [name for name, reason in zip(opinions.ids, reasons, strict=True) if reason == KEPT]
    assert sorted(kept) == list("abcdefghij")[round(10 * quantile) :]


def test_quantiles_are_the_same_whatever_other_filters_refuse() -> None:
    opinions = random_opinions()
    alone = refused(opinions, replace(OFF, quantile=0.5), nothing(opinions))
    second = np.random.default_rng(1).integers(0, 4, 200)
    both = refused(replace(opinions, second=second), replace(OFF, quantile=0.5), nothing(opinions))
    numbers = opinions.scores.argmax(axis=1)
    assert [one == KEPT for one in both] == [
        a == KEPT and b == n for a, b, n in zip(alone, second, numbers, strict=True)
    ]


def test_models_transcripts_and_windows_must_agree() -> None:
    scores = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 0.9 + 0.05
    opinions = Opinions(
        ids=list("abcdef"),
        seconds=np.ones(6),
        scores=scores,
        heard=np.ones(6, bool),
        agreeing=np.array([1.0, 1.0, 1.0, 1.0, 0.59, 0.6]),
        second=np.array([0, 2, 2, 0, 1, NO_CLASS]),
        text=np.array([0, 1, 1, NO_CLASS, 1, NO_TEXT]),
    )
    asked = replace(OFF, agreeing=0.6)
    assert refused(opinions, asked, nothing(opinions)).tolist() == [KEPT, SECOND, TEXT, TEXT, WINDOWS, SECOND]
    told = ["labelled by people", *[KEPT] * 5]  # what was known before comes first
    assert refused(opinions, asked, told).tolist()[0] == "labelled by people"


def test_caps_and_balance_keep_the_most_confident() -> None:
    opinions = random_opinions()
    numbers, confidence = opinions.scores.argmax(axis=1), opinions.scores.max(axis=1).round(4)
    capped = refused(opinions, replace(OFF, cap=7), nothing(opinions))
    for number in range(4):
        own = np.flatnonzero(numbers == number)
        best = sorted(own.tolist(), key=lambda place: (-confidence[place], opinions.ids[place]))[:7]
        assert [place for place in own.tolist() if capped[place] == KEPT] == sorted(best)
    assert set(capped) == {KEPT, CAP}
    rare = replace(opinions, scores=np.where(np.arange(200)[:, None] < 5, np.eye(4)[3], opinions.scores * [1, 1, 1, 0]))
    balanced = refused(rare, replace(OFF, balance=2.5), nothing(rare))
    kept = np.bincount(rare.numbers[balanced == KEPT], minlength=4)
    assert kept.tolist() == [12, 12, 12, 5] and set(balanced) == {KEPT, BALANCE}


def test_equal_confidences_are_told_apart_by_ids_and_order_changes_nothing() -> None:
    scores = np.tile([0.7, 0.3], (6, 1))
    opinions = Opinions(ids=list("fedcba"), seconds=np.ones(6), scores=scores, heard=np.ones(6, bool))
    reasons = refused(opinions, replace(OFF, cap=2), nothing(opinions))
    assert [name for name, reason in zip(opinions.ids, reasons, strict=True) if reason == KEPT] == ["b", "a"]
    order = np.random.default_rng(0).permutation(200)
    one = random_opinions()
    other = Opinions([one.ids[i] for i in order], one.seconds[order], one.scores[order], one.heard[order])
    settings = FilterSettings(quantile=0.4, cap=9, balance=2)
    expected = dict(zip(one.ids, refused(one, settings, nothing(one)), strict=True))
    assert dict(zip(other.ids, refused(other, settings, nothing(other)), strict=True)) == expected
