"""Cross-validation: a model for every fold, tested on clips that neither trained nor chose it.

N: clips. n: clips of a test. K: classes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from emotion2vec.checkpoint.opening import load_model, read_source
from emotion2vec.corpora.faults import Fault, examples
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.data.cuts import cuts_of
from emotion2vec.devices import choose_device
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.files import write_json
from emotion2vec.finetune.config import FinetuneConfig, load_config
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.scoring import score_waveforms
from emotion2vec.finetune.splits import Split, fold_split
from emotion2vec.probe.corpus import ProbedCorpus, clip_summary, prepare_corpus
from emotion2vec.probe.outcomes import Outcome, summed_up
from emotion2vec.probe.results import About, ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.settings import to_dict
from emotion2vec.tasks.metrics import format_score
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.trainer import FitResult
from emotion2vec.version import PROBED_WITH, versions

TESTED = "test.json"
"""What a fold's model says of its test; a fold that has it is done."""

WITHOUT_SPEAKERS = "speakers are not told apart: models were chosen by clips of speakers who also train"
"""Stands beside scores of corpora whose speakers are unknown."""


class Fit(Protocol):
    """Trains a model, see `emotion2vec.finetune.run.fit`."""

    def __call__(self, config: FinetuneConfig, corpus: Corpus, split: Split) -> FitResult:
        """Train."""
        ...


@dataclass(frozen=True)
class Scored:
    """A finished cross-validation: its scores, and how the last of its models ended."""

    scores: ProbeResult
    last: FitResult


@dataclass(frozen=True)
class _Job:
    """A fold with a seed: its configuration, with a run folder of its own, and its clips."""

    config: FinetuneConfig
    fold: Fold
    split: Split


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
    started, prepared = (
        time.monotonic(),
        prepare_corpus(corpus, config.evaluate.folds, targets=tuple(config.data.targets)),
    )
    jobs = _jobs(config, prepared)
    last, outcomes, left_out = FitResult(0, None), [], dict(corpus.left_out)
    for number, job in enumerate(jobs, 1):
        say(f"fold {job.fold.name} ({number} of {len(jobs)}): {len(job.fold.test)} clips to test")
        folder = Path(job.config.run.dir)
        if not (folder / TESTED).is_file():
            last = fit(job.config, corpus, job.split)
            if last.signal is not None:
                return last
            _test(job, corpus)
        else:
            _check_same(job.config)
        outcome = _outcome(job, prepared, left_out)
        scored = prepared.goal.score(outcome.statistics)
        shown = [format_score(scored[name], prepared.goal.unit, name) for name in prepared.goal.shown[:2]]
        say(f"fold {job.fold.name}: {', '.join(shown)}")
        outcomes.append(outcome)
    result = _result(config, prepared, outcomes, left_out, (time.monotonic() - started) / 60)
    output = Path(config.evaluate.output or Path(config.run.dir) / "scores.json")
    write_json(output, result.to_dict())
    say(f"scores of all folds are in {output}")
    return Scored(result, last)


def _jobs(config: FinetuneConfig, prepared: ProbedCorpus) -> list[_Job]:
    """All folds with all seeds.

    Raises:
        ConfigError: a class has no clip that trains, of all folds at once.
    """
    corpus, jobs, faults = prepared.clipset, [], {}
    seeds = config.evaluate.seeds or [config.run.seed]
    for seed in seeds:
        for number, fold in enumerate(prepared.folds, 1):
            name = f"{number:02d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', fold.name)}" + f"_seed{seed}" * (len(seeds) > 1)
            run = replace(config.run, dir=str(Path(config.run.dir) / "folds" / name), seed=seed)
            own = replace(config, run=run)
            split = fold_split(own, corpus, fold)
            trained = {corpus.utterances[i].label for i in split.train}
            lacking = [] if config.data.targets else [label for label in corpus.classes if label not in trained]
            if lacking:
                faults[fold.name] = f"fold {fold.name} has no clip of {examples(lacking)} to train on"
            jobs.append(_Job(own, fold, split))
    if faults:
        raise ConfigError(f"{'; '.join(faults.values())}; expected some, or data.classes without it")
    return jobs


def _check_same(config: FinetuneConfig) -> None:
    """Check that a fold that is done was trained with these settings.

    Raises:
        ConfigError: it was trained with others.
    """
    folder = RunFolder(config)
    if config.optim.epochs:  # which became so many updates when the clips were counted
        before = load_config(folder.config_file).optim
        timed = replace(config.optim, max_updates=before.max_updates, warmup_updates=before.warmup_updates)
        folder = RunFolder(replace(config, optim=timed))
    folder.same_run_notes()


def _test(job: _Job, corpus: Corpus) -> None:
    """Score the test clips by the fold's model, and keep what it says."""
    folder = Path(job.config.run.dir)
    device = choose_device(job.config.run.accelerator)
    model = load_model(folder, device=str(device))
    clips = [corpus.utterances[i] for i in job.fold.test]
    opened = cuts_of(clips, min_samples=job.config.data.min_samples, workers=job.config.data.workers)
    names, rows, faults = [], [], [*opened.faults, *opened.too_short]
    where = {clip.id: clip.where for clip in clips}
    for first in range(0, len(opened.cuts), TOGETHER):
        cuts = opened.cuts[first : first + TOGETHER]
        heard = list(zip(cuts, decoded(cuts, normalizes=model.config.normalizes), strict=True))
        faults += [Fault(where[cut.id], str(one)) for cut, one in heard if isinstance(one, AudioError)]
        sound = [(cut, one) for cut, one in heard if not isinstance(one, AudioError)]
        names += [cut.id for cut, _ in sound]
        if sound:
            scored = score_waveforms(
                lambda waves, padding: model.scores(model(waves, padding)), [one for _, one in sound], device
            )
            found = torch.from_numpy(scored).double()
            rows.append((found if job.config.data.targets else found.log_softmax(dim=1)).numpy())
    write_json(
        folder / TESTED,
        {
            "ids": names,
            "scores": np.concatenate(rows).round(6).tolist() if rows else [],
            "left_out": [asdict(fault) for fault in faults],
        },
    )


def _outcome(job: _Job, prepared: ProbedCorpus, left_out: dict[str, str]) -> Outcome:
    """Read what a fold's model said of its test; clips that could not be used are added to `left_out`.

    Raises:
        ConfigError: it is of other clips, or none could be used.
    """
    path = Path(job.config.run.dir) / TESTED
    document = json.loads(path.read_text(encoding="utf-8"))
    clips = prepared.clipset.utterances
    place = {clips[i].id: int(i) for i in job.fold.test}
    if unknown := [name for name in document["ids"] if name not in place]:
        raise ConfigError(f"{path}: holds scores of {examples(unknown)}, which this fold does not test; remove it")
    if not document["ids"]:
        raise ConfigError(f"fold {job.fold.name}: no readable clip to test on, expected at least one")
    left_out.update({fault["where"]: fault["reason"] for fault in document["left_out"]})
    test, scores = np.array([place[name] for name in document["ids"]]), np.array(document["scores"])
    return Outcome(
        fold=job.fold,
        seed=job.config.run.seed,
        test=test,
        scores=scores,
        details={"validation_speakers": list(job.split.held), **_chosen(job)},
        statistics=prepared.goal.statistics(test, scores),
    )


def _chosen(job: _Job) -> dict[str, Any]:
    """Update and validation score of a fold's model."""
    scores = RunFolder(job.config).scores()
    best = max(scores, key=lambda update: (scores[update], update), default=None)
    return {} if best is None else {"update": best, "validation_score": round(scores[best], 3)}


def _result(
    config: FinetuneConfig,
    prepared: ProbedCorpus,
    outcomes: Sequence[Outcome],
    left_out: Mapping[str, str],
    minutes: float,
) -> ProbeResult:
    goal, seeds = prepared.goal, config.evaluate.seeds or [config.run.seed]
    base = _Base(config.model, read_source(config.model).heard)
    warnings = [*prepared.warnings, *prepared.known.warnings(base)] + [WITHOUT_SPEAKERS] * (not config.data.speakers)
    if left_out:
        warnings.append(f"{len(left_out)} files cannot be used and are left out: {examples(left_out)}")
    settings = {name: to_dict(getattr(config, name)) for name in ("finetune", "head", "loss", "optim")}
    scores = HeadScores(
        feature=config.model,
        head=f"finetune {config.finetune.strategy}",
        head_settings=settings,
        task=goal.task,
        metrics=tuple(goal.shown),
        main=goal.main,
        unit=goal.unit,
        **summed_up(outcomes, prepared, seeds),
        minutes=round(minutes, 3),
        transductive=prepared.known.by(base),
    )
    return ProbeResult(about=_about(config, prepared, seeds, left_out, warnings), results=(scores,))


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


def _about(
    config: FinetuneConfig,
    prepared: ProbedCorpus,
    seeds: Sequence[int],
    left_out: Mapping[str, str],
    warnings: Sequence[str],
) -> About:
    clipset = prepared.clipset
    values = prepared.goal.task == "regression"
    by = "held-out speakers of training" if config.data.speakers else "held-out clips of training"
    return About(
        dataset=clipset.name,
        clips=len(clipset.utterances),
        speakers=len({clip.speaker for clip in clipset.utterances} - {None}),
        scheme=prepared.scheme,
        targets=prepared.goal.describe(np.arange(len(clipset.utterances))) if values else None,
        classes=None if values else clipset.classes,
        clips_per_class=None if values else clipset.label_counts,
        context=0,
        conversation=None,
        selection=None,
        mapping=clipset.mapping,
        summary=clip_summary(clipset, left_out),
        audit=prepared.audit,
        settings={
            "layer": "last",
            "pooling": config.head.pooling,
            "standardize": config.finetune.standardize > 0,
            "seeds": list(seeds),
            "selection": f"best {prepared.goal.main} of {by}, every {config.validation.every} updates",
        },
        device=str(choose_device(config.run.accelerator)),
        left_out=tuple(Fault(file, reason) for file, reason in left_out.items()),
        changes=clipset.changes,
        warnings=tuple(warnings),
        versions=versions(*PROBED_WITH),
    )
