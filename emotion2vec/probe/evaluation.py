"""One feature under one head: train on every fold, score the tests, average over folds and seeds.

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

from emotion2vec.corpora.conversations import Contexts
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.corpora.validation import validation_split
from emotion2vec.devices import HOST, is_host, warn_of_fallback
from emotion2vec.errors import ConfigError
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.parallel import run_parallel
from emotion2vec.probe.problem import HeadRecipe, Prediction, Problem
from emotion2vec.probe.progress import track
from emotion2vec.tasks.metrics import mean_scores, std_scores
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
    clipset: Corpus,
    table: FeatureTable,
    folds: Sequence[Fold],
    head: HeadRecipe,
    goal: Goal,
    *,
    contexts: Contexts | None = None,
    seeds: Sequence[int] = (0,),
    standardize: bool = True,
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, Any]:
    """Train and test a head on every fold with every seed.

    Args:
        clipset: the clips that `folds` and `table` refer to by position.
        table: their features; clips that could not be read are neither trained nor tested on.
        folds: the splits.
        head: what to train.
        goal: what it learns, and how that is scored.
        contexts: in conversations, what is heard for each turn.
        seeds: see `probe`.
        standardize: see `probe`.
        device: where neural heads run.
        progress: show a progress bar.

    Returns:
        `head` and its settings, `task`, `metrics` (those that tables show), `main` (the one that ranks) and `unit`;
        `folds` with scores (means over seeds) and what training has `chosen` with each seed, `mean` and `std` over
        folds, `pooled` (scores of all test predictions together, mean over seeds), `intervals` (of the pooled scores,
        see `bootstrap_intervals`), `by_speaker` (scores of each tested speaker), `statistics` (what the folds' scores
        are computed from, see `Goal`, per fold, seed and speaker), `by_seed` (pooled scores) and `minutes`. Of classes
        also `AUC` and `confusion` (summed over seeds; rows are the truth), of values `points` (true and predicted
        values of some test clips).

    Raises:
        ConfigError: folds without readable clips to train, validate or test on, or with nothing to learn in training;
            all at once.
    """
    started = time.monotonic()
    problems = _problems(clipset, table, folds, goal, contexts, seeds, standardize)

    def train_on(device: str) -> tuple[Any, list[_Outcome]]:
        data = head.prepare(table, device)
        found = run_parallel([partial(head.fit, data, problem) for _, problem in problems], device)
        shown = track(found, f"head {head.name}", len(problems), progress)
        return data, [
            _Outcome(
                fold=fold,
                problem=problem,
                fitted=fitted.without_head(),
                statistics=goal.statistics(problem.test, fitted.scores),
            )
            for (fold, problem), fitted in zip(problems, shown, strict=True)
        ]

    try:
        data, outcomes = train_on(device)
    except NotImplementedError as error:
        if is_host(torch.device(device)):
            raise
        warn_of_fallback(torch.device(device), error)
        data, outcomes = train_on(HOST.type)
    speakers = np.array([clip.speaker or f"clip {i}" for i, clip in enumerate(clipset.utterances)])  # (N,)
    minutes = (time.monotonic() - started) / 60
    return {
        "head": head.name,
        "head_settings": _settings(head, data),
        "task": goal.task,
        "metrics": list(goal.shown),
        "main": goal.main,
        "unit": goal.unit,
        **_summary(outcomes, folds, seeds, goal),
        **_by_speaker(outcomes, speakers, goal, known=any(clip.speaker for clip in clipset.utterances)),
        **_points(outcomes, goal),
        "minutes": round(minutes, 3),
    }


def _settings(head: HeadRecipe, data: Any) -> dict[str, Any]:
    """A head's settings, with the precision that it chose for its data."""
    settings = {item.name: getattr(head, item.name) for item in dataclasses.fields(head)}  # type: ignore[arg-type]
    return settings | ({"precision": data.precision} if hasattr(data, "precision") else {})


def _problems(
    clipset: Corpus,
    table: FeatureTable,
    folds: Sequence[Fold],
    goal: Goal,
    contexts: Contexts | None,
    seeds: Sequence[int],
    standardize: bool,
) -> list[tuple[Fold, Problem]]:
    """Every fold with every seed, its readable clips divided into training, validation and test."""
    speakers = np.array([clip.speaker or "" for clip in clipset.utterances])  # (N,)
    problems: list[tuple[Fold, Problem]] = []
    faults: dict[str, str] = {}
    for seed in seeds:
        for fold in folds:
            train, valid = validation_split(clipset.utterances, fold, seed)
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
                standardize=standardize,
                seed=seed,
                contexts=contexts,
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
    by_fold: list[dict[str, Any]] = []
    names: list[str] = []
    extra: list[str] = []
    for fold in folds:
        found = [item for item in outcomes if item.fold is fold]
        scored = [goal.score(item.statistics) for item in found]
        extras = [goal.extra_scores(item.problem.test, item.fitted.scores) for item in found]
        names, extra = list(scored[0]), list(extras[0])
        by_fold.append(
            {
                "name": fold.name,
                "test_speakers": list(fold.test_speakers),
                "clips": len(found[0].problem.test),
                **_known_means(scored, names),
                **_known_means(extras, extra),
                "chosen": [item.fitted.details for item in found],
                **goal.extra_entries(_total(found)),
            }
        )
    by_seed: list[dict[str, Any]] = [
        {"seed": seed, "pooled": goal.score(_total(o for o in outcomes if o.problem.seed == seed))} for seed in seeds
    ]
    return {
        "folds": by_fold,
        "mean": mean_scores(by_fold, names),
        "std": std_scores(by_fold, names),
        "pooled": mean_scores([row["pooled"] for row in by_seed], names),
        **_known_means(by_fold, extra),
        "by_seed": by_seed,
        **goal.extra_entries(_total(outcomes)),
    }


def _total(outcomes: Iterable[_Outcome]) -> np.ndarray:
    total: np.ndarray = np.sum([item.statistics for item in outcomes], axis=0)
    return total


def _known_means(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, float | None]:
    """Mean of each score over the rows that have it."""
    found = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def _by_speaker(outcomes: Sequence[_Outcome], speakers: np.ndarray, goal: Goal, known: bool) -> dict[str, Any]:
    """Scores of every tested speaker, and intervals from drawing speakers (clips, where speakers are unknown).

    With them stand the statistics that a comparison with another feature needs: per fold, seed and speaker, or of
    whole folds where speakers are unknown.
    """
    statistics: dict[str, np.ndarray] = {}
    parts: list[dict[str, Any]] = []
    for item in outcomes:
        test, predicted = item.problem.test, item.fitted.scores
        part = {"fold": item.fold.name, "seed": item.problem.seed}
        for speaker in np.unique(speakers[test]):
            own = speakers[test] == speaker
            found = goal.statistics(test[own], predicted[own])
            statistics[speaker] = statistics.get(speaker, 0) + found
            if known:
                parts.append({**part, "speaker": str(speaker), "values": found.tolist()})
        if not known:
            parts.append({**part, "speaker": None, "values": item.statistics.tolist()})
    rows = [{"speaker": str(name), **goal.score(found)} for name, found in sorted(statistics.items())]
    drawn = bootstrap_intervals(np.stack(list(statistics.values())), goal.score)
    return {
        "intervals": {name: list(limits) for name, limits in drawn.items()},
        "intervals_over": "speakers" if known else "clips",
        "by_speaker": rows if known else [],
        "statistics": parts,
    }


def _points(outcomes: Sequence[_Outcome], goal: Goal) -> dict[str, Any]:
    """True and predicted values of test clips at even steps, with the first seed; nothing of classes."""
    if goal.task != "regression":
        return {}
    first = [item for item in outcomes if item.problem.seed == outcomes[0].problem.seed]
    truth = np.concatenate([item.problem.labels[item.problem.test] for item in first])  # (N, Q)
    predicted = np.concatenate([item.fitted.scores for item in first])  # (N, Q)
    rows = np.unique(np.linspace(0, len(truth) - 1, MOST_POINTS).astype(np.int64))
    pairs = np.stack([truth[rows], predicted[rows]], axis=2).round(3)  # (points, Q, 2)
    return {"points": {name: pairs[:, place].tolist() for place, name in enumerate(goal.names)}}
