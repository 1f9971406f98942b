"""What folds gave → scores: averaged over folds and seeds, pooled, by speaker, with intervals.

N: clips. K: classes. Q: dimensions of values. n: clips of a test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from emotion2vec.corpora.folds import Fold
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.scores import FoldScores, Scores, Statistics
from emotion2vec.probe.single import hardest, points, reliabilities, roc
from emotion2vec.tasks.metrics import mean_scores, std_scores
from emotion2vec.tasks.significance import bootstrap_intervals
from emotion2vec.tasks.targets import Goal


def summed_up(outcomes: Sequence[Outcome], corpus: ProbedCorpus, seeds: Sequence[int]) -> dict[str, Any]:
    """The fields of `HeadScores` that come of tests: every fold of a corpus with every seed."""
    return {
        **_summary(outcomes, corpus.folds, seeds, corpus.goal),
        **_by_speaker(outcomes, corpus),
        "by_group": _by_group(outcomes, corpus),
        "points": points(outcomes, corpus.goal),
        "roc": roc(outcomes, corpus.goal),
        "reliability": reliabilities(outcomes, corpus.goal),
        "hardest": hardest(outcomes, corpus.goal, corpus.clipset.utterances),
        "robustness": _robustness(outcomes, corpus),
    }


def _summary(outcomes: Sequence[Outcome], folds: Sequence[Fold], seeds: Sequence[int], goal: Goal) -> dict[str, Any]:
    """The fields of `HeadScores` that sum up all outcomes."""
    by_fold: list[FoldScores] = []
    names: list[str] = []
    extra: list[str] = []
    for fold in folds:
        found = [item for item in outcomes if item.fold is fold]
        scored = [goal.score(item.statistics) for item in found]
        extras = [goal.extra_scores(item.test, item.scores, item.details.get("temperature")) for item in found]
        names, extra = list(scored[0]), list(extras[0])
        by_fold.append(
            FoldScores(
                name=fold.name,
                test_speakers=fold.test_speakers,
                clips=len(found[0].test),
                scores={**_known_means(scored, names), **_known_means(extras, extra)},
                chosen=tuple(item.details for item in found),
                **goal.extra_entries(_total(found)),
            )
        )
    of_folds = [fold.scores for fold in by_fold]
    by_seed = tuple((seed, goal.score(_total(o for o in outcomes if o.seed == seed))) for seed in seeds)
    return {
        "folds": tuple(by_fold),
        "mean": mean_scores(of_folds, names),
        "std": std_scores(of_folds, names),
        "pooled": mean_scores([pooled for _, pooled in by_seed], names),
        "further": _known_means(of_folds, extra),
        "by_seed": by_seed,
        "confusion": None,
        **goal.extra_entries(_total(outcomes)),
        "by_class": goal.by_class(_total(outcomes)),
    }


def _total(outcomes: Iterable[Outcome]) -> np.ndarray:
    total: np.ndarray = np.sum([item.statistics for item in outcomes], axis=0)
    return total


def _known_means(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float | None]:
    """Mean of each score over the rows that have it."""
    found = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def _by_speaker(outcomes: Sequence[Outcome], corpus: ProbedCorpus) -> dict[str, Any]:
    """Scores of every tested speaker, and intervals from drawing speakers (clips, where speakers are unknown).

    With them stand the statistics that a comparison with another feature needs: per fold, seed and speaker, or of
    whole folds where speakers are unknown. All are fields of `HeadScores`.
    """
    clips, goal = corpus.clipset.utterances, corpus.goal
    known = any(clip.speaker for clip in clips)
    speakers = _speakers(corpus)
    sums: dict[str, np.ndarray] = {}
    counts: Counter[str] = Counter()
    parts: list[Statistics] = []
    for item in outcomes:
        test, predicted = item.test, item.scores
        part = partial(Statistics, fold=item.fold.name, seed=item.seed)
        for speaker in np.unique(speakers[test]):
            own = speakers[test] == speaker
            found = goal.statistics(test[own], predicted[own])
            sums[speaker] = sums.get(speaker, 0) + found
            counts[speaker] += int(own.sum())
            if known:
                parts.append(part(speaker=str(speaker), values=found.tolist()))
        if not known:
            parts.append(part(speaker=None, values=item.statistics.tolist()))
    scores = {str(name): {"clips": counts[name], **goal.score(found)} for name, found in sorted(sums.items())}
    return {
        "intervals": bootstrap_intervals(np.stack(list(sums.values())), goal.score),
        "intervals_over": "speakers" if known else "clips",
        "by_speaker": scores if known else {},
        "statistics": tuple(parts),
    }


def _by_group(outcomes: Sequence[Outcome], corpus: ProbedCorpus) -> dict[str, dict[str, Scores]]:
    """Scores of the clips of each group, of every grouping that is known, with how many they are over all seeds."""
    found: dict[str, dict[str, Scores]] = {}
    for by, groups in corpus.groups.items():
        for name in sorted({*groups} - {""}):
            parts = [(item, groups[item.test] == name) for item in outcomes]
            if clips := sum(int(own.sum()) for _, own in parts):
                statistics = sum(corpus.goal.statistics(item.test[own], item.scores[own]) for item, own in parts)
                found.setdefault(by, {})[name] = {"clips": clips, **corpus.goal.score(np.asarray(statistics))}
    return {by: groups for by, groups in found.items() if len(groups) > 1}


def _robustness(outcomes: Sequence[Outcome], corpus: ProbedCorpus) -> list[dict[str, Any]]:
    """Pooled scores of all test clips as they are, which are the plain ones, and under every condition.

    Each has the interval of the main metric, by the draws of speakers that the plain one has.
    """
    if not all(item.distorted for item in outcomes):
        return []
    goal, speakers, rows = corpus.goal, _speakers(corpus), []
    conditions = [("none", ""), *((one.kind, one.level) for one in outcomes[0].distorted)]
    for number, (kind, level) in enumerate(conditions):
        by_seed: dict[int, np.ndarray] = {}
        sums: dict[str, np.ndarray] = {}
        for item in outcomes:
            predicted = item.distorted[number - 1].scores if number else item.scores
            by_seed[item.seed] = by_seed.get(item.seed, 0) + goal.statistics(item.test, predicted)
            for speaker in np.unique(speakers[item.test]):
                own = speakers[item.test] == speaker
                sums[speaker] = sums.get(speaker, 0) + goal.statistics(item.test[own], predicted[own])
        scored = [goal.score(found) for found in by_seed.values()]
        intervals = bootstrap_intervals(np.stack(list(sums.values())), goal.score)
        interval = list(intervals[goal.main])
        rows.append({"kind": kind, "level": level, **mean_scores(scored, list(scored[0])), "interval": interval})
    return rows


def _speakers(corpus: ProbedCorpus) -> np.ndarray:
    """(N,) the speaker of each clip; where speakers are unknown each clip is one of its own."""
    return np.array([clip.speaker or f"clip {i}" for i, clip in enumerate(corpus.clipset.utterances)])
