"""Cross-validation: a model for every fold, tested on clips that neither trained nor chose it.

N: clips. n: clips of a test. K: classes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.corpora.faults import examples, files_left_out
from emotion2vec.corpora.shots import few_shot
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.devices import choose_device
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_json
from emotion2vec.finetune.aims import taught_by
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.fold_tests import TESTED, FoldJob, is_tested, outcome_of, test_fold, tested_by
from emotion2vec.finetune.further_scores import further_scores
from emotion2vec.finetune.result import check_same
from emotion2vec.finetune.splits import Split, fold_split
from emotion2vec.finetune.spoken.scores import error_rate_of
from emotion2vec.finetune.stages.settings import taught_joint
from emotion2vec.finetune.unlabelled import beside, main_clips
from emotion2vec.probe.about import about
from emotion2vec.probe.corpus import ProbedCorpus, prepare_corpus
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.outcomes import summed_up
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores, Shot
from emotion2vec.probe.shots import shot_scores
from emotion2vec.settings import to_dict
from emotion2vec.tasks.metrics import format_score
from emotion2vec.training.trainer import FitResult
from emotion2vec.units import counted

WITHOUT_SPEAKERS = "speakers are not told apart: models were chosen by clips of speakers who also train"
"""Stands beside scores of corpora whose speakers are unknown."""


class Fit(Protocol):
    """Trains a model, see `emotion2vec.finetune.refit.learn`."""

    def __call__(self, config: FinetuneConfig, corpus: Corpus, split: Split) -> FitResult:
        """Train."""
        ...


@dataclass(frozen=True)
class Scored:
    """A finished cross-validation: its scores, and how the last of its models ended."""

    scores: ProbeResult
    last: FitResult


def cross_validate(config: FinetuneConfig, corpus: Corpus, fit: Fit, say: Callable[[str], None]) -> Scored | FitResult:
    """Train and test a model for every fold and seed; those that are done already are taken as they are.

    Args:
        config: a checked configuration with `evaluate.folds`.
        corpus: labelled clips.
        fit: trains one model.
        say: shows a line of text to the user.

    Returns:
        The scores, which are written too, or how a fold was interrupted.

    Raises:
        ConfigError: the scheme does not fit the corpus, or a fold lacks a class in training, or holds another run.
    """
    started, targets = time.monotonic(), tuple(config.data.targets)
    prepared = prepare_corpus(main_clips(corpus, targets), config.evaluate.folds, targets=targets)
    jobs = _jobs(config, prepared, corpus)
    last, outcomes, left_out = FitResult(0, None), [], dict(corpus.left_out)
    for number, job in enumerate(jobs, 1):
        few = "" if job.shots is None else f", {counted(job.shots, 'clip')} of each class"
        say(f"fold {job.fold.name}{few} ({number} of {len(jobs)}): {counted(len(job.fold.test), 'clip')} to test")
        folder = Path(job.config.run.dir)
        if not (folder / TESTED).is_file():
            last = fit(job.config, corpus, job.split)
            if last.signal is not None:
                return last
        else:
            check_same(job.config)
        if not is_tested(job):
            test_fold(job, prepared)
        outcome = outcome_of(job, prepared, left_out)
        scored = prepared.goal.score(outcome.statistics)
        shown = [format_score(scored[name], prepared.goal.unit, name) for name in prepared.goal.shown[:2]]
        shown += [format_score(outcome.details["PER"], "%", "PER")] if "PER" in outcome.details else []
        say(f"fold {job.fold.name}{few}: {', '.join(shown)}")
        outcomes.append((job, outcome))
    result = _result(config, prepared, outcomes, left_out, (time.monotonic() - started) / 60)
    output = Path(config.evaluate.output or Path(config.run.dir) / "scores.json")
    write_json(output, result.to_dict())
    for name, rate in error_rate_of([one.details for _, one in outcomes]).items():
        say(f"phonemes: {format_score(rate, '%', name)}, all folds together")
    for name, found in result.further.items():
        say(f"{name}: {format_score(found.mean[found.main], found.unit, found.main)}, mean over folds")
    say(f"scores of all folds are in {output}")
    return Scored(result, last)


def _jobs(config: FinetuneConfig, prepared: ProbedCorpus, corpus: Corpus) -> list[FoldJob]:
    """All folds with all seeds, of a corpus whose clips without the main target are no part of what was prepared.

    Raises:
        ConfigError: a class has no clip that trains, or a further target fewer than two classes or values; of all
            folds at once.
    """
    jobs, faults, joint = [], {}, taught_joint(config.joint, config.gmp)
    seeds = config.evaluate.seeds or [config.run.seed]
    for seed in seeds:
        for number, fold in enumerate(prepared.folds, 1):
            name = f"{number:02d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', fold.name)}" + f"_seed{seed}" * (len(seeds) > 1)
            run = replace(config.run, dir=str(Path(config.run.dir) / "folds" / name), seed=seed)
            own = replace(config, run=run)
            split = fold_split(own, corpus, beside(corpus, config.data.targets, fold, config.evaluate.folds))
            trained = [corpus.utterances[i] for i in split.train]
            labels = corpus.classes if not config.data.targets else ()
            if lacking := sorted({*labels} - {clip.label or "" for clip in trained}):
                faults[fold.name] = f"fold {fold.name} has no clip of {examples(lacking)} to train on"
            elif untaught := [one for one in joint.targets if one not in taught_by(joint, trained).targets]:
                names = examples(name for name, _ in untaught)
                faults[fold.name] = f"fold {fold.name} has fewer than 2 classes or values of {names} to train on"
            jobs.append(FoldJob(own, fold, split))
            jobs += [_few(jobs[-1], count, corpus) for count in config.evaluate.shots]
    if faults:
        without = "data.classes or joint" if joint.targets else "data.classes"
        raise ConfigError(f"{'; '.join(faults.values())}; expected some, or {without} without it")
    return jobs


def _few(job: FoldJob, count: int, corpus: Corpus) -> FoldJob:
    """The same fold with a few clips of each class, and the targets that they teach; not tested under conditions."""
    config, split = job.config, job.split
    labels = [clip.label for clip in corpus.utterances]
    rows = np.array([i for i in np.concatenate([split.train, split.valid]) if labels[i]])
    train, valid = few_shot(labels, rows, count, config.run.seed, job.fold.name)
    own = replace(
        config,
        run=replace(config.run, dir=f"{config.run.dir}_shots{count}"),
        evaluate=replace(config.evaluate, robustness=[]),
        joint=taught_by(config.joint, [corpus.utterances[i] for i in train]),
    )
    return FoldJob(own, job.fold, Split(train, valid, ()), count)


def _shots(
    config: FinetuneConfig, prepared: ProbedCorpus, outcomes: Sequence[tuple[FoldJob, Outcome]]
) -> tuple[Shot, ...]:
    """Scores of each number of clips, all of them last."""
    counts = [*config.evaluate.shots, None] if config.evaluate.shots else []
    return shot_scores({count: [one for job, one in outcomes if job.shots == count] for count in counts}, prepared)


def _result(
    config: FinetuneConfig,
    prepared: ProbedCorpus,
    outcomes: Sequence[tuple[FoldJob, Outcome]],
    left_out: Mapping[str, str],
    minutes: float,
) -> ProbeResult:
    goal, seeds = prepared.goal, config.evaluate.seeds or [config.run.seed]
    base = _Base(config.model, _known(config, prepared))
    warnings = [*prepared.warnings, *prepared.known.warnings(base)] + [WITHOUT_SPEAKERS] * (not config.data.speakers)
    if left_out:
        warnings.append(files_left_out(left_out))
    sections = [
        "finetune",
        "head",
        "loss",
        "joint",
        "phonemes",
        "optim",
        *["gmp", "clusters", "retrain"] * config.gmp.enabled,
    ]
    trained = {name: to_dict(getattr(config, name)) for name in sections}
    scores = HeadScores(
        feature=config.model,
        head=f"finetune {config.finetune.strategy}" + ", in stages" * config.gmp.enabled,
        head_settings=trained,
        task=goal.task,
        metrics=tuple(goal.shown),
        main=goal.main,
        unit=goal.unit,
        **summed_up([one for job, one in outcomes if job.shots is None], prepared, seeds),
        shots=_shots(config, prepared, outcomes),
        minutes=round(minutes, 3),
        transductive=prepared.known.by(base),
    )
    errors = error_rate_of([one.details for job, one in outcomes if job.shots is None])
    scores = replace(scores, further={**scores.further, **errors})
    by = "held-out speakers of training" if config.data.speakers else "held-out clips of training"
    settings = {
        "layer": "last",
        "pooling": config.head.pooling,
        "standardize": config.finetune.standardize > 0,
        "seeds": list(seeds),
        "selection": f"best {goal.main} of {by}, every {config.validation.every} updates"
        + ", then anew on all of training" * config.validation.refit,
    }
    device = str(choose_device(config.run.accelerator))
    described = about(prepared, left_out, warnings, settings=settings, device=device)
    return ProbeResult(about=described, results=(scores,), further=_further(config, prepared, outcomes))


def _further(
    config: FinetuneConfig, prepared: ProbedCorpus, outcomes: Sequence[tuple[FoldJob, Outcome]]
) -> dict[str, HeadScores]:
    """Scores of the heads that stay beside the main one."""
    targets = config.joint.kept
    tests = [tested_by(job) for job, _ in outcomes] if targets else []
    head = f"finetune {config.finetune.strategy}"
    return further_scores(targets, prepared, tests, feature=config.model, head=head)


def _known(config: FinetuneConfig, prepared: ProbedCorpus) -> Heard | None:
    """What the models of all folds have heard: what they start from has, and transductive stages hear their tests."""
    heard = read_source(config.model).heard
    if not (config.gmp.enabled and config.gmp.retrain and config.gmp.transductive):
        return heard
    return (heard or Heard()).with_more(audio=prepared.known.keys)


@dataclass
class _Base:
    """The model that all folds start from, as what `Knowledge` asks: a name, and what it has heard."""

    name: str
    heard: Any
    fingerprint: str = ""
    reads: tuple[str, ...] = ("audio",)

    def extract(self, clips: Sequence[Any]) -> Sequence[Any]:
        """Give nothing: it is not a feature."""
        return []
