"""Conversations: which turns are predicted, and which turns before them are heard for it.

N: clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.units import counted


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What is heard of one turn: positions of its clips, in order.

    Attributes:
        clips: positions.
        own: it is by the speaker whose next emotion is predicted.
    """

    clips: tuple[int, ...]
    own: bool


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """For every turn that is predicted, the turns before it.

    A turn is predicted where a turn comes before it in its dialogue and one of its clips has a label: the first such
    clip stands for it. None of its own clips, and nothing that comes later, is ever among what is heard.

    Attributes:
        before: (N) the turns that are heard, the earliest first; empty for clips that do not stand for a turn.
        facts: numbers of `dialogues`, `turns`, `predicted` turns and `unlabelled` ones.
    """

    before: tuple[tuple[Turn, ...], ...]
    facts: dict[str, int]

    @classmethod
    def of(cls, corpus: Corpus, count: int) -> Contexts:
        """Find the turns of a conversation and, for each, up to `count` turns before it."""
        clips = corpus.utterances
        before: list[tuple[Turn, ...]] = [()] * len(clips)
        dialogues = _dialogues(clips)
        unlabelled = 0
        for turns in dialogues.values():
            for place, turn in enumerate(turns):
                labelled = [i for i in turn if clips[i].label]
                unlabelled += not labelled
                if place and labelled:
                    speaker = clips[turn[0]].speaker
                    before[labelled[0]] = tuple(
                        Turn(clips=earlier, own=speaker is not None and clips[earlier[0]].speaker == speaker)
                        for earlier in turns[max(0, place - count) : place]
                    )
        facts = {
            "dialogues": len(dialogues),
            "turns": sum(map(len, dialogues.values())),
            "predicted": sum(map(bool, before)),
            "unlabelled": unlabelled,
        }
        return cls(before=tuple(before), facts=facts)

    def heard(self, rows: np.ndarray) -> np.ndarray:
        """Positions of all clips that are heard for the turns at these positions, each once."""
        return np.unique([i for row in rows for turn in self.before[row] for i in turn.clips]).astype(np.int64)

    def restrict(self, folds: Sequence[Fold]) -> list[Fold]:
        """The same folds of nothing but turns that are predicted.

        Raises:
            ConfigError: folds without a turn to train or test on; all at once.
        """
        predicted = np.array([bool(turns) for turns in self.before])
        found, faults = [], []
        for fold in folds:
            parts = {"train": fold.train, "test": fold.test}
            kept = {name: rows[predicted[rows]] for name, rows in parts.items()}
            if empty := [name for name, rows in kept.items() if not rows.size]:
                faults.append(f"fold {fold.name} has no turn to {' or '.join(empty)} on")
            valid = None if fold.valid is None else fold.valid[predicted[fold.valid]]
            found.append(replace(fold, valid=valid, **kept))
        if faults:
            raise ConfigError("; ".join(faults) + "; a turn needs a label and a turn before it in its dialogue")
        return found

    def warnings(self, corpus: Corpus, folds: Sequence[Fold]) -> list[str]:
        """What makes these folds less than independent: conversations that training or validation share with tests."""
        clips = corpus.utterances
        shared = [
            fold.name
            for fold in folds
            if {clips[i].dialogue for i in fold.test} & {clips[i].dialogue for i in fold.fitted}
        ]
        if not shared:
            return []
        return [
            "dialogues of the test are also in training or validation, told from the other side, in "
            f"{len(shared)} of {len(folds)} folds; folds by session or split keep conversations apart"
        ]


def with_turns(corpus: Corpus) -> Corpus:
    """Check that clips have a place in a dialogue.

    Raises:
        ManifestError: clips have none, or a turn has clips by several speakers; all at once.
    """
    faults = []
    if lost := [clip.file for clip in corpus.utterances if clip.dialogue is None or clip.turn is None]:
        faults.append(f"{counted(len(lost), 'clip has', 'clips have')} no dialogue or turn: {examples(lost)}")
    mixed = [
        f"turn {corpus.utterances[turn[0]].turn} of {name}"
        for name, turns in ({} if lost else _dialogues(corpus.utterances)).items()
        for turn in turns
        if len({corpus.utterances[i].speaker for i in turn}) > 1
    ]
    if mixed:
        count = counted(len(mixed), "turn has", "turns have")
        faults.append(f"{count} clips by several speakers, expected one: {examples(mixed)}")
    if faults:
        raise ManifestError(f"{corpus.name}: " + "; ".join(faults))
    return corpus


def _dialogues(clips: Sequence[Utterance]) -> dict[str, list[tuple[int, ...]]]:
    """Dialogues by name: their turns in order, each the positions of its clips in the order of the list."""
    found: dict[str, dict[Any, list[int]]] = {}
    for i, clip in enumerate(clips):
        found.setdefault(str(clip.dialogue), {}).setdefault(clip.turn, []).append(i)
    return {name: [tuple(turns[number]) for number in sorted(turns)] for name, turns in found.items()}
