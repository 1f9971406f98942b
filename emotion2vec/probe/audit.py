"""The audit of a split as the report has it: what it shares, and what knowing nothing but the speaker scores on it.

K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.audit import audit_split
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.tasks.metrics import format_score, mean_scores
from emotion2vec.tasks.targets import Goal

SPEAKER_MARGIN = {"classification": 5.0, "regression": 0.05}
"""UA in points, or CCC, by which knowing only the speaker may beat chance before it is a warning."""


def audit(corpus: Corpus, folds: Sequence[Fold], goal: Goal, cache: str | Path | None = None) -> dict[str, Any]:
    """Examine a split.

    Args:
        corpus: the utterances.
        folds: the split; validation clips count as training.
        goal: what is to be predicted.
        cache: folder that remembers hashes of audio between runs.

    Returns:
        `folds` (see `FoldAudit`), `baselines` (`majority`, the most frequent class or the mean of training, and
        `speaker`, that of each test clip's speaker in training; each with mean scores over folds) and `warnings`.
    """
    describe = None if goal.task == "classification" else goal.describe
    found = audit_split(corpus, folds, cache, describe)
    baselines = {
        name: _mean_scores(goal, folds, [guess(corpus.utterances, fold, goal) for fold in folds])
        for name, guess in (("majority", _majority), ("speaker", _by_speaker))
    }
    warnings = list(found.warnings)
    if any(fold.shared_speakers for fold in folds):
        warnings[1:1] = _solved_by_speakers(baselines, goal)  # behind the warning of shared speakers
    return {"folds": [asdict(fold) for fold in found.folds], "baselines": baselines, "warnings": warnings}


def _mean_scores(goal: Goal, folds: Sequence[Fold], answers: Sequence[np.ndarray]) -> dict[str, Any]:
    found = [goal.score(goal.statistics(fold.test, one)) for fold, one in zip(folds, answers, strict=True)]
    return mean_scores(found, list(found[0]))


def _solved_by_speakers(baselines: dict[str, dict[str, Any]], goal: Goal) -> list[str]:
    """A warning where answering by the speaker is much better than always answering the same."""
    gain = baselines["speaker"][goal.main] - baselines["majority"][goal.main]
    if gain <= SPEAKER_MARGIN[goal.task]:
        return []
    scored = " and ".join(format_score(baselines["speaker"][name], goal.unit, name) for name in goal.shown[:2])
    return [f"knowing only who speaks scores {scored} on these folds"]


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
