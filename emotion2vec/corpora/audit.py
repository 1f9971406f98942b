"""What a split gives away before anything is trained: shared speakers, audio, sentences, and names that look alike."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.contents import stretch_keys
from emotion2vec.corpora.faults import SHOWN, examples
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.labels import class_name, folded
from emotion2vec.corpora.names import normal
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.corpora.validation import holds_speakers_out
from emotion2vec.units import counted

Describe = Callable[[np.ndarray], dict[str, Any]]
"""Positions of utterances -> what their labels are like."""


@dataclass(frozen=True, kw_only=True)
class FoldAudit:
    """What a fold's test shares with its training; validation counts as training.

    Attributes:
        name: of the fold.
        train: clips per class, or what else is said of labels, in training.
        test: the same in the test.
        shared_speakers: speakers of the test who are also in training.
        shared_audio: test clips that are also in training, byte for byte.
        shared_texts: sentences of the test that are also said in training.
        texts: sentences of the test.
    """

    name: str
    train: dict[str, Any]
    test: dict[str, Any]
    shared_speakers: list[str]
    shared_audio: list[str]
    shared_texts: int
    texts: int


@dataclass(frozen=True, kw_only=True)
class SplitAudit:
    """What was found in the folds of a corpus; `warnings` begin with shared speakers, if there are any."""

    folds: list[FoldAudit]
    warnings: list[str]


def audit_split(
    corpus: Corpus, folds: Sequence[Fold], cache: str | Path | None = None, describe: Describe | None = None
) -> SplitAudit:
    """Examine a split.

    Args:
        corpus: the utterances.
        folds: the split; validation clips count as training.
        cache: folder that remembers hashes of audio between runs.
        describe: what is said of labels that are not classes; by default clips are counted per class, and classes that
            look alike, and speakers of one class, are warned of.
    """
    clips = corpus.utterances
    keys = stretch_keys(clips, cache)
    found = [_audit_fold(clips, keys, fold, describe or partial(_per_class, clips)) for fold in folds]
    warnings = _shared(clips, keys, folds, found) + _alike_speakers(clips)
    if describe is None:
        warnings += _alike_labels(clips) + _one_class_speakers(clips)
    return SplitAudit(folds=found, warnings=warnings)


def _per_class(clips: Sequence[Utterance], rows: np.ndarray) -> dict[str, int]:
    return dict(sorted(Counter(clips[i].label or "" for i in rows).items()))


def _audit_fold(clips: Sequence[Utterance], keys: Sequence[str | None], fold: Fold, describe: Describe) -> FoldAudit:
    train = fold.fitted
    trained_keys = {keys[i] for i in train} - {None}
    texts, tested = ({clips[i].text or clips[i].sentence for i in rows} - {None} for rows in (train, fold.test))
    return FoldAudit(
        name=fold.name,
        train=describe(train),
        test=describe(fold.test),
        shared_speakers=list(fold.shared_speakers),
        shared_audio=[clips[i].stretch for i in fold.test if keys[i] in trained_keys],
        shared_texts=len(tested & texts),
        texts=len(tested),
    )


def _shared(
    clips: Sequence[Utterance], keys: Sequence[str | None], folds: Sequence[Fold], audits: Sequence[FoldAudit]
) -> list[str]:
    """What tests share with training, and what one of the two lacks."""
    found = []
    if shared := [fold.name for fold in audits if fold.shared_speakers]:
        found.append(
            f"speakers of the test are also in training in {len(shared)} of {len(folds)} folds, so scores are not "
            "speaker-independent; folds `speaker` keep them apart"
        )
    if all(clip.speaker is None for clip in clips):
        found.append("speakers are unknown, so that training and test may share them")
    else:
        found += _unnamed(clips, folds)
    if audio := sorted({file for fold in audits for file in fold.shared_audio}):
        found.append(f"{len(audio)} test clips are also in training, byte for byte: {examples(audio)}")
    found += _repeated(clips, keys, folds)
    if texts := [fold for fold in audits if fold.shared_texts]:
        shared_texts, all_texts = sum(fold.shared_texts for fold in texts), sum(fold.texts for fold in texts)
        found.append(f"{shared_texts} of {all_texts} sentences of the tests are also said in training")
    for fold in audits:
        if missing := sorted(fold.test.keys() - fold.train.keys()):
            found.append(f"fold {fold.name}: training has no clip of {', '.join(missing)}, which the test has")
        if absent := sorted(fold.train.keys() - fold.test.keys()):
            found.append(f"fold {fold.name}: the test has no clip of {', '.join(absent)}; its UA is over the others")
    return found


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
        found.append(f"{counted(len(often), 'clip is', 'clips are')} tested in more than one fold: {examples(often)}")
    same: dict[str, list[Utterance]] = {}
    for clip, key in zip(clips, keys, strict=True):
        if key is not None:
            same.setdefault(key, []).append(clip)
    if twice := [group for group in same.values() if len(group) > 1]:
        names = [" = ".join(clip.stretch for clip in group) for group in twice]
        contradicting = sum(len({clip.label for clip in group}) > 1 for group in twice)
        also = f", {contradicting} of them under different labels" if contradicting else ""
        count = counted(len(twice), "recording is", "recordings are")
        found.append(f"{count} listed more than once{also}: {examples(names)}")
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
