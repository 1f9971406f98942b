"""What a split gives away before anything is trained: shared speakers, audio and sentences, and what that scores.

K: classes. Q: dimensions of values.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.contents import content_keys
from emotion2vec.corpora.faults import SHOWN, examples
from emotion2vec.corpora.folds import Fold, holds_speakers_out
from emotion2vec.corpora.labels import class_name, folded
from emotion2vec.corpora.names import normal
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.tasks.metrics import format_score, mean_scores
from emotion2vec.tasks.targets import Goal, make_goal

SPEAKER_MARGIN = {"classification": 5.0, "regression": 0.05}
"""UA in points, or CCC, by which knowing only the speaker may beat chance before it is a warning."""


def audit(
    corpus: Corpus, folds: Sequence[Fold], cache: str | Path | None = None, goal: Goal | None = None
) -> dict[str, Any]:
    """Examine a split.

    Args:
        corpus: the utterances.
        folds: the split; validation clips count as training.
        cache: folder that remembers hashes of audio between runs.
        goal: what is to be predicted, by default the classes.

    Returns:
        `folds` (per fold: clips per class, or mean and deviation of values, in training and test; shared speakers,
        clips and sentences), `baselines` (`majority`, the most frequent class or the mean of training, and `speaker`,
        that of each test clip's speaker in training; each with mean scores over folds) and `warnings`.
    """
    clips, goal = corpus.utterances, goal or make_goal(corpus)
    keys = content_keys([clip.path for clip in clips], cache)
    rows = [_audit_fold(clips, keys, fold, goal) for fold in folds]
    guesses = {"majority": _majority, "speaker": _by_speaker}
    baselines = {}
    for name, guess in guesses.items():
        found = [goal.score(goal.statistics(fold.test, guess(clips, fold, goal))) for fold in folds]
        baselines[name] = mean_scores(found, list(found[0]))
    return {
        "folds": rows,
        "baselines": baselines,
        "warnings": _warnings(clips, keys, folds, rows, baselines, goal),
    }


def _audit_fold(clips: Sequence[Utterance], keys: Sequence[str | None], fold: Fold, goal: Goal) -> dict[str, Any]:
    train = fold.fitted
    trained_keys = {keys[i] for i in train} - {None}
    texts, tested = ({clips[i].text or clips[i].sentence for i in rows} - {None} for rows in (train, fold.test))
    return {
        "name": fold.name,
        "train": goal.describe(train),
        "test": goal.describe(fold.test),
        "shared_speakers": list(fold.shared_speakers),
        "shared_audio": [clips[i].file for i in fold.test if keys[i] in trained_keys],
        "shared_texts": len(tested & texts),
        "texts": len(tested),
    }


def _majority(clips: Sequence[Utterance], fold: Fold, goal: Goal) -> np.ndarray:
    """(test clips, K or Q) the same answer for all."""
    return np.tile(goal.constant(fold.fitted), (len(fold.test), 1))


def _by_speaker(clips: Sequence[Utterance], fold: Fold, goal: Goal) -> np.ndarray:
    """(test clips, K or Q) the answer for each clip's speaker, if training has clips of hers; else that for all."""
    seen: dict[str, list[int]] = {}
    for i in fold.fitted:
        if (speaker := clips[i].speaker) is not None:
            seen.setdefault(speaker, []).append(int(i))
    answers = _majority(clips, fold, goal)
    usual = {speaker: goal.constant(np.array(rows)) for speaker, rows in seen.items()}
    for place, i in enumerate(fold.test):
        answers[place] = usual.get(clips[i].speaker or "", answers[place])
    return answers


def _warnings(
    clips: Sequence[Utterance],
    keys: Sequence[str | None],
    folds: Sequence[Fold],
    rows: Sequence[dict[str, Any]],
    baselines: dict[str, dict[str, float]],
    goal: Goal,
) -> list[str]:
    found = []
    if shared := [row["name"] for row in rows if row["shared_speakers"]]:
        found.append(
            f"speakers of the test are also in training in {len(shared)} of {len(folds)} folds, so scores are not "
            "speaker-independent; folds `speaker` keep them apart"
        )
        gain = baselines["speaker"][goal.main] - baselines["majority"][goal.main]
        if gain > SPEAKER_MARGIN[goal.task]:
            scored = " and ".join(format_score(baselines["speaker"][name], goal.unit, name) for name in goal.shown[:2])
            found.append(f"knowing only who speaks scores {scored} on these folds")
    if all(clip.speaker is None for clip in clips):
        found.append("speakers are unknown, so that training and test may share them")
    else:
        found += _unnamed(clips, folds)
    if audio := sorted({file for row in rows for file in row["shared_audio"]}):
        found.append(f"{len(audio)} test clips are also in training, byte for byte: {examples(audio)}")
    found += _repeated(clips, keys, folds)
    if texts := [row for row in rows if row["shared_texts"]]:
        shared_texts, all_texts = (sum(row[name] for row in texts) for name in ("shared_texts", "texts"))
        found.append(f"{shared_texts} of {all_texts} sentences of the tests are also said in training")
    for row in rows:
        if missing := sorted(row["test"].keys() - row["train"].keys()):
            found.append(f"fold {row['name']}: training has no clip of {', '.join(missing)}, which the test has")
        if absent := sorted(row["train"].keys() - row["test"].keys()):
            found.append(f"fold {row['name']}: the test has no clip of {', '.join(absent)}; its UA is over the others")
    found += _alike_speakers(clips)
    return found + (_alike_labels(clips) + _one_class_speakers(clips) if goal.task == "classification" else [])


def _unnamed(clips: Sequence[Utterance], folds: Sequence[Fold]) -> list[str]:
    """Clips without a speaker in training, whose speaker may be one that validates or is tested."""
    rows = {int(i) for fold in folds for i in fold.fitted if clips[i].speaker is None}
    if not rows:
        return []
    chosen = [fold for fold in folds if fold.valid is None]
    by_speaker = sum(holds_speakers_out(clips, fold) for fold in chosen)
    how = f", and named speakers are held out for validation in {by_speaker} of {len(chosen)} folds" if chosen else ""
    names = examples(clips[i].file for i in sorted(rows))
    return [f"{len(rows)} training clips have no speaker, who may also be tested: {names}; they train{how}"]


def _repeated(clips: Sequence[Utterance], keys: Sequence[str | None], folds: Sequence[Fold]) -> list[str]:
    """Clips that several folds test, and recordings that the corpus lists under several names or labels."""
    found = []
    tested = Counter(int(i) for fold in folds for i in fold.test)
    if often := [clips[i].file for i, count in sorted(tested.items()) if count > 1]:
        found.append(f"{len(often)} clips are tested in more than one fold: {examples(often)}")
    same: dict[str, list[Utterance]] = {}
    for clip, key in zip(clips, keys, strict=True):
        if key is not None:
            same.setdefault(key, []).append(clip)
    if twice := [group for group in same.values() if len(group) > 1]:
        names = [" = ".join(clip.file for clip in group) for group in twice]
        contradicting = sum(len({clip.label for clip in group}) > 1 for group in twice)
        also = f", {contradicting} of them under different labels" if contradicting else ""
        found.append(f"{len(twice)} recordings are listed more than once{also}: {examples(names)}")
    return found


def _alike_labels(clips: Sequence[Utterance]) -> list[str]:
    """Labels that differ only in case, spaces, hyphens or Unicode form, or are synonyms, are mostly one class."""
    alike = _alike((clip.label for clip in clips if clip.label), class_name)
    return [f"labels that look like the same class count as different ones: {alike}"] if alike else []


def _alike_speakers(clips: Sequence[Utterance]) -> list[str]:
    """Speakers whose names differ only in how they are written are mostly one person, whom folds take apart."""
    alike = _alike((clip.speaker for clip in clips if clip.speaker), _person)
    return [f"speakers that look like the same person count as different ones: {alike}"] if alike else []


def _person(name: str) -> str:
    """A speaker's name without case, spaces, invisible characters, leading zeros, and the `.0` of spreadsheets."""
    visible = "".join(c for c in folded(name) if not c.isspace() and unicodedata.category(c) != "Cf")
    whole = re.sub(r"^([0-9]+)\.0+$", r"\1", visible)
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", whole)


def _alike(names: Iterable[str], meaning: Callable[[str], str]) -> str:
    """Names of one meaning, for a message; empty where every name has a meaning of its own."""
    spelled: dict[str, set[str]] = {}
    for name in names:
        spelled.setdefault(meaning(name), set()).add(name)
    alike = [" and ".join(_shown(group)) for group in spelled.values() if len(group) > 1]
    rest = [f"and {len(alike) - SHOWN} more"] if len(alike) > SHOWN else []
    return "; ".join(alike[:SHOWN] + rest)


def _shown(names: Iterable[str]) -> list[str]:
    """Names in quotes; those that look the same, in different Unicode forms, with their characters' numbers."""
    plain = [repr(name) for name in sorted(names)]
    same = len({normal(name) for name in plain}) < len(plain)
    return [ascii(name) for name in sorted(names)] if same else plain


def _one_class_speakers(clips: Sequence[Utterance]) -> list[str]:
    labels: dict[str, set[str]] = {}
    for clip in clips:
        if clip.speaker is not None and clip.label:
            labels.setdefault(clip.speaker, set()).add(clip.label)
    single = sorted(speaker for speaker, found in labels.items() if len(found) == 1)
    if not single or len({clip.label for clip in clips}) < 2:
        return []
    return [f"{len(single)} of {len(labels)} speakers have clips of one class only: {examples(single)}"]
