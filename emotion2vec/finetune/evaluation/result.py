"""Scores of one model on one test, in the form of a probe's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from emotion2vec.corpora.faults import Fault, examples
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.probe.corpus import ProbedCorpus, clip_summary
from emotion2vec.probe.groups import groups_of
from emotion2vec.probe.knowledge import Knowledge
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.probe.results import About, ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.targets import Goal
from emotion2vec.version import PROBED_WITH, versions


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
        warnings = [*warnings, f"{len(left_out)} files cannot be used and are left out: {examples(left_out)}"]
    known = None
    if model.heard is not None:
        known = {kind: round(model.heard.share(kind, prepared.known.keys), 4) for kind in ("audio", "labels")}
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
    return ProbeResult(
        about=_about(prepared, left_out, warnings, dict(settings or {}), str(model.device)), results=(scores,)
    )


def _about(
    prepared: ProbedCorpus, left_out: dict[str, str], warnings: Sequence[str], settings: dict[str, Any], device: str
) -> About:
    """What was tested: the clips of the fold, and no others."""
    goal, (fold,) = prepared.goal, prepared.folds
    clips = [prepared.clipset.utterances[i] for i in fold.test]
    corpus = replace(prepared.clipset, utterances=tuple(clips), left_out={})
    values = goal.task == "regression"
    return About(
        dataset=corpus.name,
        clips=len(clips),
        speakers=len({clip.speaker for clip in clips} - {None}),
        scheme=prepared.scheme,
        targets=goal.describe(fold.test) if values else None,
        classes=None if values else goal.names,
        clips_per_class=None if values else corpus.label_counts,
        context=0,
        conversation=None,
        selection=None,
        mapping=corpus.mapping,
        summary=clip_summary(replace(corpus, left_out=left_out), left_out),
        audit=prepared.audit,
        settings=settings,
        device=device,
        left_out=tuple(Fault(file, reason) for file, reason in left_out.items()),
        changes=corpus.changes,
        warnings=tuple(warnings),
        versions=versions(*PROBED_WITH),
    )
