"""The test of a fold: what its model says of clips that neither trained nor chose it, kept beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import Fold
from emotion2vec.data.cuts import cuts_of
from emotion2vec.devices import choose_device
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_json
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.config import FinetuneConfig, chooser
from emotion2vec.finetune.evaluation.answers import Examiner, uncalibrated
from emotion2vec.finetune.evaluation.conditions import conditions_of
from emotion2vec.finetune.evaluation.settings import conditions_asked
from emotion2vec.finetune.further_scores import Tested, labels_of
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.spoken.scores import phoneme_errors, recognized_cuts
from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.outcome import Distorted, Outcome
from emotion2vec.training.run_folder import RunFolder

TESTED = "test.json"
"""What a fold's model says of its test; a fold that has it is done."""


@dataclass(frozen=True)
class FoldJob:
    """A fold with a seed.

    Attributes:
        config: with a run folder of its own.
        fold: whose test is scored.
        split: of its other clips.
        shots: labelled clips of each class in the split; None for all.
    """

    config: FinetuneConfig
    fold: Fold
    split: Split
    shots: int | None = None


def test_fold(job: FoldJob, prepared: ProbedCorpus) -> None:
    """Score the test clips by the fold's model, and keep what it says."""
    folder, config = Path(job.config.run.dir), job.config
    model = load_model(folder, device=str(choose_device(config.run.accelerator)))
    assert model.head is not None
    opened = cuts_of(
        [prepared.clipset.utterances[i] for i in job.fold.test],
        min_samples=config.data.min_samples,
        workers=config.data.workers,
    )
    conditions = conditions_of(config.evaluate, config.data.workers)
    said = {prepared.clipset.utterances[i].id: prepared.clipset.utterances[i].text for i in job.fold.test}
    examiner = Examiner(model, range(len(model.head.labels)), conditions, config.run.seed, said)
    truth = {prepared.clipset.utterances[i].id: prepared.goal.labels[i] for i in job.fold.test}
    found = examiner(opened, truth)
    scores, labels = _rows(found.scores), labels_of(model.heads())
    write_json(
        folder / TESTED,
        {
            "ids": found.ids,
            "scores": scores.pop(MAIN),
            "further": {name: {"labels": labels[name], "scores": rows} for name, rows in scores.items()},
            "recognized": recognized_cuts(model, opened.cuts),
            "left_out": [asdict(fault) for fault in found.faults],
            "conditions": conditions_asked(config.evaluate),
            "distorted": [
                {"kind": one.kind, "level": one.level, "scores": rows.pop(MAIN), "further": rows}
                for one, rows in zip(conditions, map(_rows, found.distorted), strict=True)
            ],
        },
    )


def _rows(said: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Scores (N, K) of each head, none where no clip could be used, as JSON has them."""
    return {MAIN: [], **{name: scores.round(6).tolist() for name, scores in said.items()}}


def is_tested(job: FoldJob) -> bool:
    """Whether a fold's model has said all that is asked of it."""
    path, wanted = Path(job.config.run.dir) / TESTED, conditions_asked(job.config.evaluate)
    if not path.is_file():
        return False
    return not wanted or json.loads(path.read_text(encoding="utf-8")).get("conditions") == wanted


def outcome_of(job: FoldJob, prepared: ProbedCorpus, left_out: dict[str, str]) -> Outcome:
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
    test = np.array([place[name] for name in document["ids"]])
    errors = phoneme_errors(document.get("recognized", {}), [clips[i] for i in test], job.config.phonemes)
    scores, calibration = uncalibrated(path.parent, np.array(document["scores"]), prepared.goal)
    return Outcome(
        fold=job.fold,
        seed=job.config.run.seed,
        test=test,
        scores=scores,
        details={"validation_speakers": list(job.split.held), **_chosen(job), **calibration, **errors},
        statistics=prepared.goal.statistics(test, scores),
        distorted=tuple(
            Distorted(kind=one["kind"], level=one["level"], scores=np.array(one["scores"]))
            for one in document.get("distorted", ())
            if job.config.evaluate.robustness
        ),
    )


def tested_by(job: FoldJob) -> Tested:
    """Read what the heads beside the main one said of a fold's test."""
    folder = Path(job.config.run.dir)
    document = json.loads((folder / TESTED).read_text(encoding="utf-8"))
    return Tested(
        fold=job.fold,
        seed=job.config.run.seed,
        folder=folder,
        ids=document["ids"],
        labels={name: one["labels"] for name, one in document["further"].items()},
        scores=_arrays({name: one["scores"] for name, one in document["further"].items()}),
        distorted=[
            (one["kind"], one["level"], _arrays(one["further"]))
            for one in document["distorted"]
            if job.config.evaluate.robustness
        ],
        shots=job.shots,
    )


def _arrays(rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(scores) for name, scores in rows.items()}


def _chosen(job: FoldJob) -> dict[str, Any]:
    """Update and validation score of a fold's model."""
    scores = RunFolder(chooser(job.config)).scores()
    best = max(scores, key=lambda update: (scores[update], update), default=None)
    return {} if best is None else {"update": best, "validation_score": round(scores[best], 3)}
