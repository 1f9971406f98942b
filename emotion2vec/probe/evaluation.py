"""Folds × heads → scores: train on every fold, score the tests, average over folds and seeds.

N: clips. K: classes. Q: dimensions of values.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.validation import validation_split
from emotion2vec.devices import HOST, is_host, warn_of_fallback
from emotion2vec.errors import ConfigError
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.features.extractor import Extractor
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.probe.parallel import run_parallel
from emotion2vec.probe.problem import HeadRecipe, Prediction, Problem
from emotion2vec.probe.progress import track
from emotion2vec.probe.scores import FoldScores, HeadScores, Scores, Statistics
from emotion2vec.tasks.calibration import probabilities_of
from emotion2vec.tasks.metrics import mean_scores, roc_points, std_scores
from emotion2vec.tasks.significance import bootstrap_intervals
from emotion2vec.tasks.targets import Goal, check_tests

MOST_POINTS = 500
"""Test clips whose values and predictions a result keeps, to be drawn."""


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What one fold gave with one seed; `statistics` are those of `Goal`, of all its test clips."""

    fold: Fold
    problem: Problem
    fitted: Prediction
    statistics: np.ndarray


def evaluate(
    corpus: ProbedCorpus, extractor: Extractor, table: FeatureTable, head: HeadRecipe, options: ProbeOptions
) -> HeadScores:
    """Train and test a head on every fold of a corpus with every seed.

    Args:
        corpus: the clips, which `table` refers to by position, and their folds.
        extractor: of the feature.
        table: the clips' features; clips that could not be read are neither trained nor tested on.
        head: what to train.
        options: `seeds`, `standardize`, `device` and `progress` are read of them.

    Raises:
        ConfigError: folds without readable clips to train, validate or test on, or with nothing to learn in training;
            all at once.
    """
    started, goal = time.monotonic(), corpus.goal
    problems = _problems(corpus, table, options)

    def train_on(device: str) -> tuple[Any, list[_Outcome]]:
        data = head.prepare(table, device)
        found = run_parallel([partial(head.fit, data, problem) for _, problem in problems], device)
        shown = track(found, f"head {head.name}", len(problems), options.progress)
        return data, [
            _Outcome(
                fold=fold,
                problem=problem,
                fitted=fitted.without_head(),
                statistics=goal.statistics(problem.test, fitted.scores),
            )
            for (fold, problem), fitted in zip(problems, shown, strict=True)
        ]

    device = options.device or HOST.type
    try:
        data, outcomes = train_on(device)
    except NotImplementedError as error:
        if is_host(torch.device(device)):
            raise
        warn_of_fallback(torch.device(device), error)
        data, outcomes = train_on(HOST.type)
    minutes = (time.monotonic() - started) / 60
    return HeadScores(
        feature=extractor.name,
        head=head.name,
        head_settings=_settings(head, data),
        task=goal.task,
        metrics=tuple(goal.shown),
        main=goal.main,
        unit=goal.unit,
        **_summary(outcomes, corpus.folds, options.seeds, goal),
        **_by_speaker(outcomes, corpus),
        by_group=_by_group(outcomes, corpus),
        points=_points(outcomes, goal),
        roc=_roc(outcomes, goal),
        minutes=round(minutes, 3),
        transductive=corpus.known.by(extractor),
    )


def _settings(head: HeadRecipe, data: Any) -> dict[str, Any]:
    """A head's settings, with the precision that it chose for its data."""
    settings = {item.name: getattr(head, item.name) for item in dataclasses.fields(head)}  # type: ignore[arg-type]
    return settings | ({"precision": data.precision} if hasattr(data, "precision") else {})


def _problems(corpus: ProbedCorpus, table: FeatureTable, options: ProbeOptions) -> list[tuple[Fold, Problem]]:
    """Every fold with every seed, its readable clips divided into training, validation and test."""
    clips, goal = corpus.clipset.utterances, corpus.goal
    speakers = np.array([clip.speaker or "" for clip in clips])  # (N,)
    problems: list[tuple[Fold, Problem]] = []
    faults: dict[str, str] = {}
    for seed in options.seeds:
        for fold in corpus.folds:
            train, valid = validation_split(clips, fold, seed)
            rows = {"train": train, "valid": valid, "test": fold.test}
            rows = {part: positions[table.usable[positions]] for part, positions in rows.items()}
            if empty := [part for part, positions in rows.items() if not positions.size]:
                faults[fold.name] = f"no readable clip to {' or '.join(empty)} on, expected at least one"
            elif fault := goal.fault(rows["train"]):
                faults[fold.name] = fault
            known = not fold.shared_speakers and bool(fold.test_speakers)
            problem = Problem(
                labels=goal.labels,
                outputs=len(goal.names),
                speakers=speakers if known else None,
                standardize=options.standardize,
                seed=seed,
                contexts=corpus.contexts,
                **rows,
            )
            problems.append((fold, problem))
    if faults:
        named = {fault: [name for name, other in faults.items() if other == fault] for fault in faults.values()}
        told = [f"fold{'s' * (len(names) > 1)} {', '.join(names)}: {fault}" for fault, names in named.items()]
        raise ConfigError("; ".join(told))
    check_tests(goal, [len(problem.test) for _, problem in problems])
    return problems


def _summary(outcomes: Sequence[_Outcome], folds: Sequence[Fold], seeds: Sequence[int], goal: Goal) -> dict[str, Any]:
    """The fields of `HeadScores` that sum up all outcomes."""
    by_fold: list[FoldScores] = []
    names: list[str] = []
    extra: list[str] = []
    for fold in folds:
        found = [item for item in outcomes if item.fold is fold]
        scored = [goal.score(item.statistics) for item in found]
        extras = [
            goal.extra_scores(item.problem.test, item.fitted.scores, item.fitted.details.get("temperature"))
            for item in found
        ]
        names, extra = list(scored[0]), list(extras[0])
        by_fold.append(
            FoldScores(
                name=fold.name,
                test_speakers=fold.test_speakers,
                clips=len(found[0].problem.test),
                scores={**_known_means(scored, names), **_known_means(extras, extra)},
                chosen=tuple(item.fitted.details for item in found),
                **goal.extra_entries(_total(found)),
            )
        )
    of_folds = [fold.scores for fold in by_fold]
    by_seed = tuple((seed, goal.score(_total(o for o in outcomes if o.problem.seed == seed))) for seed in seeds)
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


def _total(outcomes: Iterable[_Outcome]) -> np.ndarray:
    total: np.ndarray = np.sum([item.statistics for item in outcomes], axis=0)
    return total


def _known_means(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float | None]:
    """Mean of each score over the rows that have it."""
    found = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def _by_speaker(outcomes: Sequence[_Outcome], corpus: ProbedCorpus) -> dict[str, Any]:
    """Scores of every tested speaker, and intervals from drawing speakers (clips, where speakers are unknown).

    With them stand the statistics that a comparison with another feature needs: per fold, seed and speaker, or of
    whole folds where speakers are unknown. All are fields of `HeadScores`.
    """
    clips, goal = corpus.clipset.utterances, corpus.goal
    known = any(clip.speaker for clip in clips)
    speakers = np.array([clip.speaker or f"clip {i}" for i, clip in enumerate(clips)])  # (N,)
    sums: dict[str, np.ndarray] = {}
    parts: list[Statistics] = []
    for item in outcomes:
        test, predicted = item.problem.test, item.fitted.scores
        part = partial(Statistics, fold=item.fold.name, seed=item.problem.seed)
        for speaker in np.unique(speakers[test]):
            own = speakers[test] == speaker
            found = goal.statistics(test[own], predicted[own])
            sums[speaker] = sums.get(speaker, 0) + found
            if known:
                parts.append(part(speaker=str(speaker), values=found.tolist()))
        if not known:
            parts.append(part(speaker=None, values=item.statistics.tolist()))
    scores = {str(name): goal.score(found) for name, found in sorted(sums.items())}
    return {
        "intervals": bootstrap_intervals(np.stack(list(sums.values())), goal.score),
        "intervals_over": "speakers" if known else "clips",
        "by_speaker": scores if known else {},
        "statistics": tuple(parts),
    }


def _by_group(outcomes: Sequence[_Outcome], corpus: ProbedCorpus) -> dict[str, dict[str, Scores]]:
    """Scores of the clips of each group, of every grouping that is known, with how many they are over all seeds."""
    found: dict[str, dict[str, Scores]] = {}
    for by, groups in corpus.groups.items():
        for name in sorted({*groups} - {""}):
            parts = [(item, groups[item.problem.test] == name) for item in outcomes]
            clips = sum(int(own.sum()) for _, own in parts)
            if clips:
                statistics = sum(
                    corpus.goal.statistics(item.problem.test[own], item.fitted.scores[own]) for item, own in parts
                )
                found.setdefault(by, {})[name] = {"clips": clips, **corpus.goal.score(np.asarray(statistics))}
    return found


def _roc(outcomes: Sequence[_Outcome], goal: Goal) -> dict[str, list[list[float]]] | None:
    """ROC curves of the classes over the test clips of all folds, with the first seed; None of values."""
    if goal.task != "classification":
        return None
    first = [item for item in outcomes if item.problem.seed == outcomes[0].problem.seed]
    truth = np.concatenate([item.problem.labels[item.problem.test] for item in first])  # (N,)
    shares = np.concatenate([probabilities_of(item.fitted.scores) for item in first])  # (N, K)
    return {
        name: [list(point) for point in roc_points(truth == place, shares[:, place])]
        for place, name in enumerate(goal.names)
        if 0 < np.mean(truth == place) < 1
    }


def _points(outcomes: Sequence[_Outcome], goal: Goal) -> dict[str, list[list[float]]] | None:
    """True and predicted values of test clips at even steps, with the first seed; None of classes."""
    if goal.task != "regression":
        return None
    first = [item for item in outcomes if item.problem.seed == outcomes[0].problem.seed]
    truth = np.concatenate([item.problem.labels[item.problem.test] for item in first])  # (N, Q)
    predicted = np.concatenate([item.fitted.scores for item in first])  # (N, Q)
    rows = np.unique(np.linspace(0, len(truth) - 1, MOST_POINTS).astype(np.int64))
    pairs = np.stack([truth[rows], predicted[rows]], axis=2).round(3)  # (points, Q, 2)
    return {name: pairs[:, place].tolist() for place, name in enumerate(goal.names)}
