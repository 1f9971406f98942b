"""Folds × heads → scores: train on every fold, and score the tests.

N: clips.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.shots import few_shot
from emotion2vec.corpora.validation import validation_split
from emotion2vec.devices import HOST, is_host, warn_of_fallback
from emotion2vec.errors import ConfigError
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.features.extractor import Extractor
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.probe.parallel import run_parallel
from emotion2vec.probe.problem import Fitted, HeadRecipe, Prediction, Problem
from emotion2vec.probe.progress import track
from emotion2vec.probe.scores import HeadScores, Shot
from emotion2vec.probe.shots import shot_scores
from emotion2vec.tasks.targets import check_tests


def evaluate(
    corpus: ProbedCorpus, extractor: Extractor, table: FeatureTable, head: HeadRecipe, options: ProbeOptions
) -> HeadScores:
    """Train and test a head on every fold of a corpus with every seed.

    Args:
        corpus: the clips, which `table` refers to by position, and their folds.
        extractor: of the feature.
        table: the clips' features; clips that could not be read are neither trained nor tested on.
        head: what to train.
        options: `seeds`, `shots`, `standardize`, `device` and `progress` are read of them.

    Raises:
        ConfigError: folds without readable clips to train, validate or test on, or with nothing to learn in training;
            all at once.
    """
    started, goal = time.monotonic(), corpus.goal
    plain = _problems(corpus, table, options)
    problems = plain + [row for count in options.shots for row in _few(plain, count)]

    def train_on(device: str) -> tuple[Any, list[Outcome]]:
        data = head.prepare(table, device)
        found = run_parallel([partial(head.fit, data, problem) for _, problem in problems], device)
        shown = track(found, f"head {head.name}", len(problems), options.progress, options.on_progress)
        return data, [
            Outcome(
                fold=fold,
                seed=problem.seed,
                test=problem.test,
                scores=fitted.scores,
                details={**fitted.details, **_size(fitted)},
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
        **summed_up(outcomes[: len(plain)], corpus, options.seeds),
        shots=_shots(outcomes, corpus, options) if options.shots else (),
        minutes=round(minutes, 3),
        transductive=corpus.known.by(extractor),
    )


def _size(fitted: Prediction) -> dict[str, int]:
    """How many parameters a head has, where it is there."""
    return {"parameters": sum(p.numel() for p in fitted.head.parameters())} if isinstance(fitted, Fitted) else {}


def _few(problems: Sequence[tuple[Fold, Problem]], count: int) -> list[tuple[Fold, Problem]]:
    """The same folds with a few clips of each class."""
    found = []
    for fold, problem in problems:
        rows = np.concatenate([problem.train, problem.valid])
        train, valid = few_shot(problem.labels.tolist(), rows, count, problem.seed, fold.name)
        found.append((fold, dataclasses.replace(problem, train=train, valid=valid)))
    return found


def _shots(outcomes: Sequence[Outcome], corpus: ProbedCorpus, options: ProbeOptions) -> tuple[Shot, ...]:
    """Scores of each number of clips, all of them last; outcomes are those of all clips, then those of each number."""
    size = len(outcomes) // (1 + len(options.shots))
    parts = [outcomes[first : first + size] for first in range(0, len(outcomes), size)]
    return shot_scores(dict(zip([*options.shots, None], [*parts[1:], parts[0]], strict=True)), corpus)


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
    check_tests(goal, [problem.test for _, problem in problems])
    return problems
