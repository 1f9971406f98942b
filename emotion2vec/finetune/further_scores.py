"""Scores of the heads beside the main one in cross-validation.

N: clips. n: tested clips that have a target. K: classes or dimensions of values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion2vec.finetune.aims import class_of, has_target
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.evaluation.answers import uncalibrated
from emotion2vec.finetune.fold_tests import TESTED
from emotion2vec.finetune.joint import parts_of, weighted
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.groups import groups_of
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.targets import make_goal

IMPOSSIBLE = -100.0
"""Logarithm of the probability of a class that a fold's model does not know."""


def further_scores(
    config: FinetuneConfig, prepared: ProbedCorpus, tests: Sequence[tuple[Outcome, Path]]
) -> dict[str, HeadScores]:
    """Scores of every target that has a head in the models, over the tested clips that have it.

    Clips of a class that no training clip of their fold has, such as new speakers, are not judged.

    Args:
        config: names the targets.
        prepared: the corpus of the main goal.
        tests: what each fold gave for it, and its folder.
    """
    kinds = [(name, False) for name, _ in map(weighted, config.joint.classes)]
    kinds += [(name, True) for name, _ in map(weighted, config.joint.values)]
    found = {}
    for target, values in kinds:
        own = _corpus_of(prepared, target, values=values)
        if own is None:
            continue
        outcomes = [one for outcome, folder in tests if (one := _outcome(own, outcome, folder, target)) is not None]
        if outcomes:
            own = replace(own, folds=tuple(f for f in own.folds if any(one.fold is f for one in outcomes)))
            found[target] = _scores(config, own, outcomes, target)
    return found


def _corpus_of(prepared: ProbedCorpus, target: str, *, values: bool) -> ProbedCorpus | None:
    """The clips that have a target, with this for what is predicted; None where there are none."""
    clips = prepared.clipset.utterances
    kept = prepared.clipset.keep([has_target(clip, target, values=values) for clip in clips], {})
    if not kept.utterances:
        return None
    if not values:
        kept = replace(kept, utterances=tuple(replace(one, label=class_of(one, target)) for one in kept.utterances))
    goal = make_goal(kept, tuple(parts_of(target)) if values else ())
    return replace(prepared, clipset=kept, goal=goal, groups=groups_of(kept.utterances))


def _outcome(own: ProbedCorpus, main: Outcome, folder: Path, target: str) -> Outcome | None:
    """What a fold gave for a target; None where it tested no clip of it."""
    document = json.loads((folder / TESTED).read_text(encoding="utf-8"))
    goal, said = own.goal, document["further"][target]
    place = {clip.id: number for number, clip in enumerate(own.clipset.utterances)}
    known = {name: column for column, name in enumerate(goal.names)}
    columns = [known[label] for label in said["labels"] if label in known]
    rows = [row for row, name in enumerate(document["ids"]) if name in place]
    test = np.array([place[document["ids"][row]] for row in rows], np.int64)  # (n,)
    if goal.task == "classification":
        judged = np.isin(goal.labels[test], columns)
        rows, test = [row for row, one in zip(rows, judged, strict=True) if one], test[judged]
    if not len(test):
        return None
    scores = np.full((len(test), len(goal.names)), IMPOSSIBLE)  # (n, K)
    found, calibration = uncalibrated(folder, np.array(said["scores"])[rows], goal, target)
    scores[:, columns] = found[:, [said["labels"].index(goal.names[column]) for column in columns]]
    return Outcome(
        fold=main.fold,
        seed=main.seed,
        test=test,
        scores=scores,
        details=calibration,
        statistics=goal.statistics(test, scores),
    )


def _scores(config: FinetuneConfig, own: ProbedCorpus, outcomes: Sequence[Outcome], target: str) -> HeadScores:
    seeds = list(dict.fromkeys(one.seed for one in outcomes))
    return HeadScores(
        feature=config.model,
        head=f"finetune {config.finetune.strategy}: {target}",
        head_settings={},
        task=own.goal.task,
        metrics=tuple(own.goal.shown),
        main=own.goal.main,
        unit=own.goal.unit,
        **summed_up(outcomes, own, seeds),
        minutes=0.0,
        transductive=None,
    )
