"""What a split gives away before anything is trained: shared speakers, audio and sentences, and what that scores.

N: clips. K: classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.probe.contents import content_keys
from emotion2vec.probe.corpora import Clip, ClipSet, examples
from emotion2vec.probe.folds import Fold
from emotion2vec.probe.metrics import confusion_matrix, mean_scores, scores

SPEAKER_MARGIN = 5.0
"""Points of UA by which knowing only the speaker may beat chance before it is a warning."""


def audit(clipset: ClipSet, folds: Sequence[Fold], cache: str | Path | None = None) -> dict[str, Any]:
    """Examine a split.

    Args:
        clipset: the clips.
        folds: the split; validation clips count as training.
        cache: folder that remembers hashes of audio between runs.

    Returns:
        `folds` (per fold: clips per class in training and test, shared speakers, clips and sentences), `baselines`
        (`majority`, the most frequent training class, and `speaker`, each test clip's speaker's most frequent training
        class; each with mean WA, UA, WF1 over folds) and `warnings`.
    """
    clips = clipset.clips
    keys = content_keys([clip.path for clip in clips], cache)
    number = {label: position for position, label in enumerate(clipset.classes)}
    labels = np.array([number[clip.label] for clip in clips], np.int64)  # (N,)
    rows = [_audit_fold(clips, keys, fold) for fold in folds]
    majority: list[dict[str, float]] = []
    speaker: list[dict[str, float]] = []
    for fold in folds:
        train = _training(fold)
        for guesses, guess in ((majority, _majority(labels, train, fold)), (speaker, _by_speaker(clips, labels, fold))):
            guesses.append(scores(confusion_matrix(labels[fold.test], guess, len(number))))
    baselines = {"majority": mean_scores(majority), "speaker": mean_scores(speaker)}
    return {"folds": rows, "baselines": baselines, "warnings": _warnings(clips, keys, folds, rows, baselines)}


def _training(fold: Fold) -> np.ndarray:
    return fold.train if fold.valid is None else np.concatenate([fold.train, fold.valid])


def _audit_fold(clips: Sequence[Clip], keys: Sequence[str | None], fold: Fold) -> dict[str, Any]:
    train = _training(fold)
    trained_keys = {keys[i] for i in train} - {None}
    texts = {clips[i].text for i in train} - {None}
    return {
        "name": fold.name,
        "train": dict(sorted(Counter(clips[i].label for i in train).items())),
        "test": dict(sorted(Counter(clips[i].label for i in fold.test).items())),
        "shared_speakers": list(fold.shared_speakers),
        "shared_audio": [clips[i].file for i in fold.test if keys[i] in trained_keys],
        "shared_texts": len({clips[i].text for i in fold.test} & texts),
        "texts": len({clips[i].text for i in fold.test} - {None}),
    }


def _majority(labels: np.ndarray, train: np.ndarray, fold: Fold) -> np.ndarray:
    return np.full(len(fold.test), np.bincount(labels[train]).argmax())


def _by_speaker(clips: Sequence[Clip], labels: np.ndarray, fold: Fold) -> np.ndarray:
    """Each test clip gets its speaker's most frequent training class; strangers get the most frequent of all."""
    train = _training(fold)
    seen: dict[str, list[int]] = {}
    for i in train:
        if (speaker := clips[i].speaker) is not None:
            seen.setdefault(speaker, []).append(int(labels[i]))
    usual = {speaker: int(np.bincount(found).argmax()) for speaker, found in seen.items()}
    otherwise = int(np.bincount(labels[train]).argmax())
    return np.array([usual.get(clips[i].speaker or "", otherwise) for i in fold.test], np.int64)


def _warnings(
    clips: Sequence[Clip],
    keys: Sequence[str | None],
    folds: Sequence[Fold],
    rows: Sequence[dict[str, Any]],
    baselines: dict[str, dict[str, float]],
) -> list[str]:
    found = []
    if shared := [row["name"] for row in rows if row["shared_speakers"]]:
        found.append(
            f"speakers of the test are also in training in {len(shared)} of {len(folds)} folds, so scores are not "
            "speaker-independent; --folds speaker keeps them apart"
        )
        gain = baselines["speaker"]["UA"] - baselines["majority"]["UA"]
        if gain > SPEAKER_MARGIN:
            found.append(
                f"knowing only who speaks scores {baselines['speaker']['WA']:.1f} % WA and "
                f"{baselines['speaker']['UA']:.1f} % UA on these folds"
            )
    if all(clip.speaker is None for clip in clips):
        found.append("speakers are unknown, so that training and test may share them")
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
    return found + _alike_labels(clips) + _one_class_speakers(clips)


def _repeated(clips: Sequence[Clip], keys: Sequence[str | None], folds: Sequence[Fold]) -> list[str]:
    """Clips that several folds test, and recordings that the corpus lists under several names or labels."""
    found = []
    tested = Counter(int(i) for fold in folds for i in fold.test)
    if often := [clips[i].file for i, count in sorted(tested.items()) if count > 1]:
        found.append(f"{len(often)} clips are tested in more than one fold: {examples(often)}")
    same: dict[str, list[Clip]] = {}
    for clip, key in zip(clips, keys, strict=True):
        if key is not None:
            same.setdefault(key, []).append(clip)
    if twice := [group for group in same.values() if len(group) > 1]:
        names = [" = ".join(clip.file for clip in group) for group in twice]
        contradicting = sum(len({clip.label for clip in group}) > 1 for group in twice)
        also = f", {contradicting} of them under different labels" if contradicting else ""
        found.append(f"{len(twice)} recordings are listed more than once{also}: {examples(names)}")
    return found


def _alike_labels(clips: Sequence[Clip]) -> list[str]:
    """Labels that differ only in case, spaces and hyphens are mostly one class that was spelled in two ways."""
    spelled: dict[str, set[str]] = {}
    for clip in clips:
        spelled.setdefault("".join(filter(str.isalnum, clip.label.lower())), set()).add(clip.label)
    alike = [" and ".join(map(repr, sorted(labels))) for labels in spelled.values() if len(labels) > 1]
    return [f"labels that look like the same class count as different ones: {'; '.join(alike)}"] if alike else []


def _one_class_speakers(clips: Sequence[Clip]) -> list[str]:
    labels: dict[str, set[str]] = {}
    for clip in clips:
        if clip.speaker is not None:
            labels.setdefault(clip.speaker, set()).add(clip.label)
    single = sorted(speaker for speaker, found in labels.items() if len(found) == 1)
    if not single or len({clip.label for clip in clips}) < 2:
        return []
    return [f"{len(single)} of {len(labels)} speakers have clips of one class only: {examples(single)}"]
