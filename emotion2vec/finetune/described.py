"""What a run folder says of its model: data that it learnt from, scores of the held-out clips, and a card.

N: clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.folds import fold_of
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.data.cuts import cuts_of
from emotion2vec.devices import choose_device
from emotion2vec.files import write_json, write_text
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.card import card
from emotion2vec.finetune.config import FinetuneConfig, chooser
from emotion2vec.finetune.evaluation.answers import Examiner, uncalibrated
from emotion2vec.finetune.evaluation.result import beside_main, judged_corpus, scored
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.unlabelled import main_clips
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.results import ProbeResult
from emotion2vec.tasks.targets import make_goal

DATA = "data.json"
"""Counts of what a run learns from."""
VALIDATION = "validation.json"
"""Scores of the held-out clips by the run's model, in the form of a probe's."""
CARD = "README.md"

FLATTERS = "these clips chose the checkpoint and the temperature: their scores flatter"


def describe_data(config: FinetuneConfig, corpus: Corpus, split: Split | None) -> None:
    """Write `data.json`: clips and speakers by label, corpus, language and gender.

    Args:
        config: of the run.
        corpus: labelled clips.
        split: those that train and those that are held out are counted apart; None where folds alone are trained.

    Raises:
        StorageError: the disk does not take it.
    """
    clips, everything = corpus.utterances, np.arange(len(corpus.utterances))
    parts = {"all": everything} if split is None else {"train": split.train, "held out": split.valid}
    if split is not None and (rest := np.setdiff1d(everything, np.concatenate([split.train, split.valid]))).size:
        parts["left alone"] = rest  # the test of a prescribed split
    groups: dict[str, dict[str, Any]] = {}
    for by in ("label", "corpus", "language", "gender"):
        names = sorted({str(getattr(clip, by)) for clip in clips if getattr(clip, by)})
        if names and (len(names) > 1 or by == "label"):
            groups[by] = {
                name: {
                    part: _counts([clips[i] for i in rows if getattr(clips[i], by) == name])
                    for part, rows in parts.items()
                }
                for name in names
            }
    goal = make_goal(main_clips(corpus, config.data.targets), tuple(config.data.targets))
    document = {
        "sources": [*config.data.corpora, *([config.data.table] if config.data.table else [])],
        "licence": config.data.licence,
        "mapping": {name: dict(labels) for name, labels in corpus.mapping.items()},
        "parts": {part: _counts([clips[i] for i in rows]) for part, rows in parts.items()},
        "groups": groups,
        "values": goal.describe(np.arange(len(goal.labels))) if config.data.targets else {},
        "held_out_speakers": [] if split is None else list(split.held),
        "left_out": dict(corpus.left_out),
        "warnings": list(corpus.warnings),
    }
    write_json(Path(config.run.dir) / DATA, document)


def _counts(clips: Sequence[Utterance]) -> dict[str, int]:
    return {"clips": len(clips), "speakers": len({clip.speaker for clip in clips} - {None})}


def describe_model(config: FinetuneConfig, corpus: Corpus, split: Split) -> None:
    """Score the held-out clips by the model that they chose, and write `validation.json` and the card.

    Raises:
        StorageError: the disk does not take them.
    """
    folder = Path(config.run.dir)
    result = _validated(chooser(config), corpus, split)
    write_json(folder / VALIDATION, result.to_dict())
    data, scores = _document(folder / DATA), _document(folder / "scores.json")
    write_text(folder / CARD, card(config, data, result, ProbeResult.from_dict(scores) if scores else None))


def _document(path: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _validated(config: FinetuneConfig, corpus: Corpus, split: Split) -> ProbeResult:
    """Scores of the held-out clips."""
    folder, data = Path(config.run.dir), config.data
    model = load_model(folder, device=str(choose_device(config.run.accelerator)))
    assert model.head is not None
    judged = main_clips(corpus, data.targets)
    goal = make_goal(judged, tuple(data.targets))
    clips = [corpus.utterances[i] for i in split.valid]
    opened = cuts_of(clips, min_samples=data.min_samples, workers=data.workers)
    said = {clip.id: clip.text for clip in clips}
    answers = Examiner(model, range(len(model.head.labels)), said=said)(opened, {})
    place = {judged.utterances[i].id: int(i) for i in split.valid if i < len(judged.utterances)}
    there = np.array([name in place for name in answers.ids])
    test = np.array([place[name] for name in answers.ids if name in place])
    fold = fold_of(judged.utterances, "held out", split.train[split.train < len(judged.utterances)], test)
    scores, details = uncalibrated(folder, answers.scores[MAIN][there], goal)
    outcome = Outcome(
        fold=fold,
        seed=config.run.seed,
        test=test,
        scores=scores,
        details=details,
        statistics=goal.statistics(test, scores),
    )
    prepared = judged_corpus(judged, goal, "held out", [fold])
    left_out = {fault.where: fault.reason for fault in answers.faults}
    result = scored(outcome, prepared, model, str(folder), left_out=left_out, warnings=[FLATTERS])
    return replace(result, further=beside_main(model, str(folder), corpus, answers, config.run.seed))
