"""A model tested on labelled speech: the function behind `emotion2vec finetune evaluate`.

N: clips. K: labels that are told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emotion2vec.checkpoint.heard import Heard, utterance_key
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import fold_of
from emotion2vec.corpora.prescribed import of_part
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.data.cuts import Cuts, cuts_of
from emotion2vec.devices import choose_device
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.files import check_folder_name, write_json
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.evaluation.answers import Answers, Examiner, uncalibrated
from emotion2vec.finetune.evaluation.conditions import Attack, Condition, conditions_of
from emotion2vec.finetune.evaluation.plan import EvaluationPlan
from emotion2vec.finetune.evaluation.result import beside_main, judged_corpus, scored
from emotion2vec.finetune.evaluation.settings import conditions_asked
from emotion2vec.finetune.evaluation.tested import joint_of, read_tested, read_valued
from emotion2vec.finetune.labelled import show_classes
from emotion2vec.finetune.learnt_scales import as_learnt
from emotion2vec.finetune.result import FACTS
from emotion2vec.finetune.unlabelled import main_clips
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.probe.knowledge import MARK
from emotion2vec.probe.outcome import Distorted, Outcome
from emotion2vec.probe.results import ProbeResult
from emotion2vec.tasks.metrics import format_score
from emotion2vec.tasks.targets import Classes, Goal, make_goal

SCORES = "scores.json"
"""In the folder of a test."""


@dataclass(frozen=True)
class Evaluated:
    """A finished test: its scores, and the folder that they are kept in."""

    scores: ProbeResult
    folder: Path


def evaluate(plan: EvaluationPlan, say: Callable[[str], None]) -> Evaluated:
    """Score a model on labelled speech, and write what came of it.

    Args:
        plan: a checked one.
        say: shows a line of text to the user.

    Raises:
        ConfigError: the model has no head, its labels are not those of the speech, the model learnt from some of the
            clips, or the output cannot be written.
        ManifestError: the speech, noise or rooms cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    started = time.monotonic()
    device = choose_device(plan.device)
    model = load_model(plan.model, device=str(device))
    if model.head is None:
        raise ConfigError(f"model {plan.model} has no head, expected one that was fine-tuned on labels")
    corpus, chosen = _speech(plan, model)
    folder = _folder(plan, corpus)
    show_classes(corpus, say)
    opened = cuts_of(corpus.utterances, min_samples=plan.data.min_samples, workers=plan.data.workers)
    corpus, opened, notes = _without_known(plan, corpus, opened, model.heard)
    for note in notes:
        say(f"warning: {note}")
    conditions = conditions_of(plan, plan.data.workers)
    values = model.head.config.task == "values"
    judged = main_clips(corpus, chosen if values else ())
    goal = make_goal(judged, chosen) if values else Classes(judged, chosen)
    said = {clip.id: clip.text for clip in corpus.utterances}
    columns = [model.head.labels.index(name) for name in chosen]
    examiner = Examiner(model, columns, conditions, plan.seed, said, plan.text_encoder)
    truth = {clip.id: goal.labels[i] for i, clip in enumerate(judged.utterances)}
    answers = examiner(opened, truth)
    if not truth.keys() & set(answers.ids):
        raise ManifestError(
            f"{corpus.name}: none of {len(truth)} clips can be scored: "
            f"{examples(map(str, answers.faults)) or 'all are too short'}"
        )
    result = _result(plan, model, (judged, goal), (answers, conditions), notes, started)
    result = replace(result, further=beside_main(model, plan.model, corpus, answers, plan.seed, conditions))
    for name, found in result.further.items():
        say(f"{name}: {format_score(found.pooled[found.main], found.unit, found.main)} of {found.clips} clips")
    write_json(folder / SCORES, result.to_dict())
    return Evaluated(result, folder)


def _speech(plan: EvaluationPlan, model: SpeechEncoder) -> tuple[Corpus, tuple[str, ...]]:
    """What a model is tested on, clips with the main target first, and the labels that are told apart.

    Raises:
        ConfigError: scales are stated and the model gives no values, or as for `read_tested` and `of_part`.
        ManifestError: as for that.
    """
    assert model.head is not None
    joint, labels = joint_of(model.heads()), model.head.used_labels
    values = model.head.config.task == "values"
    if plan.data.ranges and not values and not joint.values:
        raise ConfigError("data.ranges is given and the model gives no values, expected none")
    if values:
        corpus, chosen = read_valued(plan.data, labels, joint), tuple(labels)
    else:
        corpus, chosen = read_tested(plan.data, labels, joint)
    names = [*(labels if values else ()), *joint.columns[1]]
    corpus = as_learnt(Path(plan.model) / FACTS, corpus, names, plan.data.ranges)
    return of_part(corpus, plan.split) if plan.split else corpus, chosen


def _folder(plan: EvaluationPlan, corpus: Corpus) -> Path:
    """The folder for what comes of a test.

    Raises:
        ConfigError: none is given, and the model lies in none of the user's; or it is a file.
    """
    if not plan.output and not Path(plan.model).is_dir():
        raise ConfigError(f"output is empty and model is {plan.model}, expected a folder for the scores")
    name = f"{corpus.name}-{plan.split}" if plan.split else corpus.name
    name = "".join(char if char.isalnum() or char in ".-" else "_" for char in name)
    folder = Path(plan.output) if plan.output else Path(plan.model) / "tests" / name
    check_folder_name(folder, "output", "the scores of a test")
    if folder.is_file():
        raise ConfigError(f"output is {folder}, which is a file, expected a folder")
    return folder


def _without_known(
    plan: EvaluationPlan, corpus: Corpus, opened: Cuts, heard: Heard | None
) -> tuple[Corpus, Cuts, list[str]]:
    """The speech without the clips that a model learnt from, as `plan.known` says, and what is to be said of it.

    Raises:
        ConfigError: there are some and they are refused, or there are no others.
    """
    if heard is None:
        return corpus, opened, ["the model does not say which clips it learnt from: it may know some of these"]
    keys = [utterance_key(cut.id, cut.duration) for cut in opened.cuts]
    notes = []
    if share := heard.share("audio", keys):
        notes.append(f"the model was trained on the audio of {share:.0%} of the clips, by their names and lengths")
    known = {cut.id for cut, learnt in zip(opened.cuts, heard.knows("labels", keys), strict=True) if learnt}
    if not known:
        return corpus, opened, notes
    files = examples(clip.file for clip in corpus.utterances if clip.id in known)
    told = f"the model learnt from {len(known)} of {len(keys)} clips, by their names and lengths"
    if plan.known == "refuse":
        raise ConfigError(
            f"{told}: {files}; expected others, known=leave-out to test on the rest, or known=keep, which marks scores"
        )
    if plan.known == "keep":
        return corpus, opened, [*notes, f"{told}: these scores are {MARK}"]
    if len(known) == len(keys):
        raise ConfigError(f"{told}, which leaves none to test on")
    wanted = [clip.id not in known for clip in corpus.utterances]
    cuts = [cut for cut in opened.cuts if cut.id not in known]
    return corpus.keep(wanted, {}), opened._replace(cuts=cuts), [*notes, f"{told}: they are left out"]


def _result(
    plan: EvaluationPlan,
    model: SpeechEncoder,
    asked: tuple[Corpus, Goal],
    found: tuple[Answers, Sequence[Condition | Attack]],
    notes: Sequence[str],
    started: float,
) -> ProbeResult:
    (corpus, goal), (answers, conditions) = asked, found
    place = {clip.id: i for i, clip in enumerate(corpus.utterances)}
    judged = np.array([name in place for name in answers.ids])
    test = np.array([place[name] for name in answers.ids if name in place])
    fold = fold_of(corpus.utterances, "test", np.empty(0, np.int64), test)
    scores, details = uncalibrated(Path(plan.model), answers.scores[MAIN][judged], goal)
    outcome = Outcome(
        fold=fold,
        seed=plan.seed,
        test=test,
        scores=scores,
        details=details,
        statistics=goal.statistics(test, scores),
        distorted=tuple(
            Distorted(kind=one.kind, level=one.level, scores=rows[MAIN][judged])
            for one, rows in zip(conditions, answers.distorted, strict=True)
        ),
    )
    return scored(
        outcome,
        judged_corpus(corpus, goal, fold.name, [fold]),
        model,
        plan.model,
        left_out={fault.where: fault.reason for fault in answers.faults},
        warnings=[*corpus.warnings, *notes],
        settings={"split": plan.split, "known": plan.known, "seed": plan.seed, **conditions_asked(plan)},
        minutes=(time.monotonic() - started) / 60,
    )
