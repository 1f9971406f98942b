"""What folds gave, summed up: every score by scikit-learn on the clips that it is of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, recall_score

from emotion2vec.corpora.folds import make_folds
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.probe.outcome import Distorted, Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.tasks.targets import make_goal

CONDITIONS = (("pink noise", "SNR 10 dB"), ("telephone", ""))
SPEAKERS = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]


def made(speakers: bool = True) -> Any:
    """A corpus of 15 clips of three speakers and two genders, as it is probed."""
    clips = tuple(
        Utterance(
            id=str(i),
            audio=f"{i}.wav",
            label="abc"[i * 7 % 3],
            speaker=f"s{SPEAKERS[i]}" if speakers else None,
            gender="fm"[i % 2],
        )
        for i in range(15)
    )
    corpus = Corpus(name="made", root=Path(), utterances=clips)
    folds = make_folds(corpus, "speaker" if speakers else "random")
    groups = {"gender": np.array([clip.gender for clip in clips]), "corpus": np.array(["x"] * 14 + [""])}
    return SimpleNamespace(clipset=corpus, goal=make_goal(corpus), folds=tuple(folds), groups=groups)


def outcomes_of(corpus: Any, seeds: list[int], conditions: tuple[tuple[str, str], ...] = CONDITIONS) -> list[Outcome]:
    found = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        for fold in corpus.folds:
            shape = len(fold.test), 3
            scores, *others = random.normal(size=(1 + len(conditions), *shape))
            distorted = tuple(
                Distorted(kind=kind, level=level, scores=one)
                for (kind, level), one in zip(conditions, others, strict=True)
            )
            statistics = corpus.goal.statistics(fold.test, scores)
            found.append(
                Outcome(fold=fold, seed=seed, test=fold.test, scores=scores, details={"temperature": 2.0},
                        statistics=statistics, distorted=distorted)
            )  # fmt: skip
    return found


def scored(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    occurring = sorted(set(truth))
    return {
        "WA": 100 * accuracy_score(truth, predicted),
        "UA": 100 * recall_score(truth, predicted, average="macro", labels=occurring, zero_division=0),
        "WF1": 100 * f1_score(truth, predicted, average="weighted", labels=occurring, zero_division=0),
        "MF1": 100 * f1_score(truth, predicted, average="macro", zero_division=0),
    }


def answers(
    found: list[Outcome], corpus: Any, condition: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, true and predicted classes of all tests."""
    rows = np.concatenate([one.test for one in found])
    scores = [one.scores if condition is None else one.distorted[condition].scores for one in found]
    return rows, corpus.goal.labels[rows], np.concatenate(scores).argmax(axis=1)


@pytest.mark.parametrize("seeds", [[0], [0, 5]])
def test_scores_of_folds_seeds_speakers_and_groups(seeds: list[int]) -> None:
    corpus = made()
    found = outcomes_of(corpus, seeds)
    summed = summed_up(found, corpus, seeds)
    each = []
    for fold, summary in zip(corpus.folds, summed["folds"], strict=True):
        own = [scored(*answers([one], corpus)[1:]) for one in found if one.fold is fold]
        mean = {name: np.mean([row[name] for row in own]) for name in own[0]}
        assert {name: summary.scores[name] for name in mean} == pytest.approx(mean)
        assert (summary.name, summary.clips, len(summary.chosen)) == (fold.name, len(fold.test), len(seeds))
        each.append(mean)
    for name in each[0]:
        assert summed["mean"][name] == pytest.approx(np.mean([row[name] for row in each]))
        assert summed["std"][name] == pytest.approx(np.std([row[name] for row in each]))
    pooled = [scored(*answers([one for one in found if one.seed == seed], corpus)[1:]) for seed in seeds]
    assert [seed for seed, _ in summed["by_seed"]] == seeds
    for (_, row), expected in zip(summed["by_seed"], pooled, strict=True):
        assert row == pytest.approx(expected)
    assert summed["pooled"] == pytest.approx({name: np.mean([row[name] for row in pooled]) for name in pooled[0]})
    rows, truth, predicted = answers(found, corpus)
    for place, name in enumerate("abc"):
        row = summed["by_class"][name]
        assert (row["clips"], row["recall"]) == (
            (truth == place).sum(),
            100 * np.mean(predicted[truth == place] == place),
        )
    said = np.array([f"s{SPEAKERS[i]}" for i in rows])
    genders = corpus.groups["gender"][rows]
    assert summed["by_group"].keys() == {"gender"}  # of one corpus alone there is nothing to tell apart
    for of, named in ((said, summed["by_speaker"]), (genders, summed["by_group"]["gender"])):
        assert named.keys() == set(of)
        for name, row in named.items():
            expected = {"clips": (of == name).sum(), **scored(truth[of == name], predicted[of == name])}
            assert row == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [[0], [0, 5]])
def test_scores_under_conditions(seeds: list[int]) -> None:
    corpus = made()
    found = outcomes_of(corpus, seeds)
    summed = summed_up(found, corpus, seeds)
    assert [(row["kind"], row["level"]) for row in summed["robustness"]] == [("none", ""), *CONDITIONS]
    for row, condition in zip(summed["robustness"], (None, 0, 1), strict=True):
        of_seeds = [
            scored(*answers([one for one in found if one.seed == seed], corpus, condition)[1:]) for seed in seeds
        ]
        for name in of_seeds[0]:
            assert row[name] == pytest.approx(np.mean([one[name] for one in of_seeds])), (row["kind"], name)
        low, high = row["interval"]
        assert low <= high
    assert summed["robustness"][0]["interval"] == pytest.approx(list(summed["intervals"]["UA"]))
    partly = [*found[:-1], *outcomes_of(corpus, seeds[-1:], conditions=())[-1:]]
    assert summed_up(partly, corpus, seeds)["robustness"] == []


@pytest.mark.parametrize("speakers", [True, False])
def test_what_a_comparison_needs_adds_up_to_all_answers(speakers: bool) -> None:
    corpus = made(speakers)
    found = outcomes_of(corpus, [0, 5])
    summed = summed_up(found, corpus, [0, 5])
    parts = summed["statistics"]
    assert np.array_equal(sum(np.array(part.values) for part in parts), sum(one.statistics for one in found))
    assert {(part.fold, part.seed) for part in parts} == {(fold.name, seed) for fold in corpus.folds for seed in (0, 5)}
    assert {part.speaker for part in parts} == ({"s0", "s1", "s2"} if speakers else {None})
    assert summed["intervals_over"] == ("speakers" if speakers else "clips")
    assert summed["by_speaker"].keys() == ({"s0", "s1", "s2"} if speakers else set())


def test_the_hardest_clips_are_wrong_and_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first seed, by their calibrated probabilities."""
    corpus = made()
    found = outcomes_of(corpus, [3, 5])
    named = summed_up(found, corpus, [3, 5])["hardest"]
    expected = []
    for one in found[: len(corpus.folds)]:
        for i, row in zip(one.test, softmax(one.scores / 2.0, axis=1), strict=True):
            if row.argmax() != corpus.goal.labels[i]:
                expected.append((row.max(), f"{i}.wav", "abc"[row.argmax()], row[corpus.goal.labels[i]], one.fold.name))
    expected.sort(key=lambda one: -one[0])
    assert [row["file"] for row in named] == [one[1] for one in expected]
    for row, (sure, _, guess, true, fold) in zip(named, expected, strict=True):
        assert (row["predicted"], row["fold"]) == (guess, fold)
        assert (row["probability"], row["probability_of_truth"]) == pytest.approx((sure, true), abs=1e-4)
    monkeypatch.setattr("emotion2vec.probe.single.HARDEST", 2)
    assert summed_up(found, corpus, [3, 5])["hardest"] == named[:2]
