"""Scores of one model on one test, in the form of a probe's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.faults import files_left_out
from emotion2vec.corpora.folds import Fold, fold_of
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.finetune.evaluation.answers import Answers
from emotion2vec.finetune.evaluation.conditions import Attack, Condition
from emotion2vec.finetune.evaluation.tested import joint_of, known_label
from emotion2vec.finetune.further_scores import Tested, further_scores, labels_of
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.probe.about import about
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.groups import groups_of
from emotion2vec.probe.knowledge import Knowledge, told_of_known
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.targets import Classes, Goal


def judged_corpus(corpus: Corpus, goal: Goal, scheme: str, folds: Sequence[Fold]) -> ProbedCorpus:
    """A corpus whose folds are there already."""
    return ProbedCorpus(
        clipset=corpus,
        goal=goal,
        scheme=scheme,
        folds=tuple(folds),
        contexts=None,
        audit={"folds": [], "baselines": {}, "warnings": []},
        known=Knowledge.of(corpus, folds),
        groups=groups_of(corpus.utterances),
    )


def scored(
    outcome: Outcome,
    prepared: ProbedCorpus,
    model: SpeechEncoder,
    name: str,
    *,
    left_out: Mapping[str, str],
    warnings: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    minutes: float = 0.0,
) -> ProbeResult:
    """Sum up the only fold of a corpus.

    Args:
        outcome: of the fold.
        prepared: the corpus.
        model: that was tested.
        name: of the model.
        left_out: files that could not be used, and why.
        warnings: what scores are to be read with in mind.
        settings: of the test.
        minutes: that it took.
    """
    assert model.head is not None
    goal, left_out = prepared.goal, {**prepared.clipset.left_out, **left_out}
    if left_out:
        warnings = [*warnings, files_left_out(left_out)]
    known = None
    if model.heard is not None:
        known = {kind: round(model.heard.share(kind, prepared.known.keys), 4) for kind in ("audio", "labels")}
        warnings = [*warnings, *told_of_known(name, {"audio": known["audio"]})]  # labels: those who call know of them
    scores = HeadScores(
        feature=name,
        head=model.head.config.kind,
        head_settings=vars(model.head.config),
        task=goal.task,
        metrics=tuple(goal.shown),
        main=goal.main,
        unit=goal.unit,
        **summed_up([outcome], prepared, [outcome.seed]),
        minutes=round(minutes, 3),
        transductive=known,
    )
    (fold,) = prepared.folds
    described = about(
        prepared, left_out, warnings, settings=dict(settings or {}), device=str(model.device), rows=fold.test
    )
    return ProbeResult(about=described, results=(scores,))


def beside_main(
    model: SpeechEncoder,
    name: str,
    corpus: Corpus,
    answers: Answers,
    seed: int,
    conditions: Sequence[Condition | Attack] = (),
) -> dict[str, HeadScores]:
    """Scores of a model's heads beside the main one, of which attacks say nothing.

    Args:
        model: that was tested.
        name: of the model, or its folder.
        corpus: the clips that were tested, and others.
        answers: what it said.
        seed: of the test.
        conditions: that it was tested under.
    """
    place = {clip.id: i for i, clip in enumerate(corpus.utterances)}
    rows = np.array([place[one] for one in answers.ids], np.int64)
    test = Tested(
        fold=fold_of(corpus.utterances, "test", np.empty(0, np.int64), rows),
        seed=seed,
        folder=Path(name),
        ids=answers.ids,
        labels=labels_of(model.heads()),
        scores={target: scores for target, scores in answers.scores.items() if target},
        distorted=[(one.kind, one.level, said) for one, said in zip(conditions, answers.distorted, strict=True)],
    )
    prepared = judged_corpus(corpus, Classes(corpus), test.fold.name, [test.fold])
    targets = joint_of(model.heads()).kept
    return further_scores(targets, prepared, [test], feature=name, head="head", spelled=known_label)
