"""Scores of the heads beside the main one, over the tested clips that have their targets.

N: clips. n: tested clips that have a target. K: classes or dimensions of values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.finetune.aims import class_of, has_target
from emotion2vec.finetune.evaluation.answers import uncalibrated
from emotion2vec.finetune.joint import parts_of
from emotion2vec.model.heads import Head
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.groups import groups_of
from emotion2vec.probe.outcome import Distorted, Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.probe.scores import HeadScores
from emotion2vec.probe.shots import shot_scores
from emotion2vec.tasks.targets import Classes, Goal, make_goal

IMPOSSIBLE = -100.0
"""Logarithm of the probability of a class that a fold's model does not know."""


@dataclass(frozen=True)
class Tested:
    """What a model said of a test.

    Attributes:
        fold: that was tested.
        seed: of training.
        folder: of the model, which says what its heads were calibrated by.
        ids: (N,) of the clips.
        labels: of each head beside the main one, by its target.
        scores: (N, K) of each.
        distorted: kind and level of each condition, and the same scores under it.
        shots: labelled clips of each class that the model learnt from; None for all.
    """

    fold: Fold
    seed: int
    folder: Path
    ids: Sequence[str]
    labels: Mapping[str, Sequence[str]]
    scores: Mapping[str, np.ndarray]
    distorted: Sequence[tuple[str, str, Mapping[str, np.ndarray]]] = ()
    shots: int | None = None


def labels_of(heads: Mapping[str, Head]) -> dict[str, Sequence[str]]:
    """Labels of the heads beside the main one, by their targets."""
    return {name: list(head.labels) for name, head in heads.items() if name}


def further_scores(
    targets: Sequence[tuple[str, bool]],
    prepared: ProbedCorpus,
    tests: Sequence[Tested],
    *,
    feature: str,
    head: str,
    spelled: Callable[[str, Sequence[str]], str] = lambda label, labels: label,
) -> dict[str, HeadScores]:
    """Scores of every target that has a head in the models.

    Clips of a class that the tested model does not know, such as new speakers, are not judged.

    Args:
        targets: names, each with whether it is of values.
        prepared: clips that may have them.
        tests: of all models.
        feature: name of what was tested.
        head: how its heads are called.
        spelled: the label among a head's that a clip's label is.
    """
    found = {}
    for target, values in targets:
        there = [test for test in tests if target in test.scores]
        own = _corpus_of(prepared, target, there, values=values, spelled=spelled)
        if own is None:
            continue
        pairs = [(test, one) for test in there if (one := _outcome(own, test, target)) is not None]
        whole = [one for test, one in pairs if test.shots is None]
        if whole:
            own = replace(own, folds=tuple(f for f in _folds(there) if any(one.fold is f for one in whole)))
            found[target] = _scores(own, pairs, feature, f"{head}: {target}")
    return found


def _folds(tests: Sequence[Tested]) -> list[Fold]:
    """The folds that were tested, each once."""
    return list({id(test.fold): test.fold for test in tests}.values())


def _corpus_of(
    prepared: ProbedCorpus,
    target: str,
    tests: Sequence[Tested],
    *,
    values: bool,
    spelled: Callable[[str, Sequence[str]], str],
) -> ProbedCorpus | None:
    """The clips that have a target, with this for what is predicted; None where there are none."""
    clips = prepared.clipset.utterances
    kept = prepared.clipset.keep([has_target(clip, target, values=values) for clip in clips], {})
    names = sorted({label for test in tests for label in test.labels[target]})
    if not values:
        named = [(clip, spelled(class_of(clip, target) or "", names)) for clip in kept.utterances]
        kept = replace(kept, utterances=tuple(replace(clip, label=label) for clip, label in named))
    if not kept.utterances or not names:
        return None
    return replace(prepared, clipset=kept, goal=_goal(kept, target, names, values), groups=groups_of(kept.utterances))


def _goal(corpus: Corpus, target: str, names: Sequence[str], values: bool) -> Goal:
    return make_goal(corpus, parts_of(target)) if values else Classes(corpus, names)


def _outcome(own: ProbedCorpus, test: Tested, target: str) -> Outcome | None:
    """What a model gave for a target; None where it tested no clip of it."""
    goal, labels = own.goal, test.labels[target]
    place = {clip.id: number for number, clip in enumerate(own.clipset.utterances)}
    columns = [goal.names.index(label) for label in labels]
    heard = np.array([name in place for name in test.ids])
    rows = np.array([place[name] for name in test.ids if name in place], np.int64)  # (n,)
    if goal.task == "classification":
        judged = np.isin(goal.labels[rows], columns)
        heard[heard], rows = judged, rows[judged]
    if not len(rows):
        return None

    def placed(said: np.ndarray) -> np.ndarray:
        scores = np.full((len(rows), len(goal.names)), IMPOSSIBLE)  # (n, K)
        scores[:, columns] = said
        return scores

    raw, calibration = uncalibrated(test.folder, test.scores[target][heard], goal, target)
    scores = placed(raw)
    return Outcome(
        fold=test.fold,
        seed=test.seed,
        test=rows,
        scores=scores,
        details=calibration,
        statistics=goal.statistics(rows, scores),
        distorted=tuple(
            Distorted(kind=kind, level=level, scores=placed(said[target][heard]))
            for kind, level, said in test.distorted
            if target in said
        ),
    )


def _scores(own: ProbedCorpus, pairs: Sequence[tuple[Tested, Outcome]], feature: str, head: str) -> HeadScores:
    whole = [one for test, one in pairs if test.shots is None]
    seeds = list(dict.fromkeys(one.seed for one in whole))
    counts = list(dict.fromkeys(test.shots for test, _ in pairs if test.shots is not None))
    by_count = {count: [one for test, one in pairs if test.shots == count] for count in [*counts, None]}
    return HeadScores(
        feature=feature,
        head=head,
        head_settings={},
        task=own.goal.task,
        metrics=tuple(own.goal.shown),
        main=own.goal.main,
        unit=own.goal.unit,
        **summed_up(whole, own, seeds),
        shots=shot_scores(by_count, own) if counts else (),
        minutes=0.0,
        transductive=None,
    )
