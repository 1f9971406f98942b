"""One stretch of speech, whoever asks for it, and what is given of many: by a list, or by a corpus with labels.

S: samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.audio.decode import Note
from emotion2vec.audio.samples import audio_blocks, load_audio
from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.errors import AudioError


class Held(str):
    """The name of audio that a program holds, with what gives it: `audio.samples.AudioSource` without a path's name."""

    give: Callable[[], Any]

    def __new__(cls, name: str, give: Callable[[], Any]) -> Held:
        """See the class."""
        made = super().__new__(cls, name)
        made.give = give
        return made


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One stretch of speech, and what is known of it; None where something is not known.

    Attributes:
        id: unique in its list, and the name of what is made of the utterance: the key that the list gives, else the
            path below the root, without suffix (and with `_start_end` if it is a segment). Never absolute, never leaves
            its folder.
        audio: the file, a URL, or the name of what a program holds.
        file: the audio as its list names it, below the root and with `/` between its parts: the name in messages and
            documents, which several stretches of one recording share. The audio itself where nothing else is given.
        start: start of the stretch, in s; None for the whole file.
        duration: length of the stretch, in s; None for all until the end of the file.
        channel: the channel to take, counted from 0; None for the mean of all.
        accept_damaged: whether to take what there is of a damaged file.
        label: the emotion, as the list spells it.
        speaker: the speaker, as the list spells it.
        gender: `female` or `male`, or as the list spells it.
        session: the recording session.
        text: what is said, in words.
        sentence: number or code of what is said, where only that is known: for noticing that folds share it.
        intensity: how strongly the emotion is acted.
        fold: the fold of a published protocol that tests it.
        split: `train`, `valid` or `test` of a published protocol.
        corpus: the corpus that it comes from.
        language: what is spoken.
        values: labels that are numbers, such as arousal.
        labels: further labels, by what they are of, such as an age group.
        votes: labels that single raters gave.
        dialogue: the conversation that it is part of.
        turn: place in the dialogue; utterances of one speaker that follow each other may share it.
        row: what else its list says, by the names of its columns, in their order: cells as they are written.
    """

    id: str
    audio: Path | str
    file: str = ""
    start: float | None = None
    duration: float | None = None
    channel: int | None = None
    accept_damaged: bool = False
    label: str | None = None
    speaker: str | None = None
    gender: str | None = None
    session: str | None = None
    text: str | None = None
    sentence: str | None = None
    intensity: str | None = None
    fold: str | None = None
    split: str | None = None
    corpus: str | None = None
    language: str | None = None
    values: Mapping[str, float] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    votes: tuple[str, ...] = ()
    dialogue: str | None = None
    turn: int | None = None
    row: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.file:
            object.__setattr__(self, "file", str(self.audio))

    @property
    def path(self) -> Path:
        """The audio of an utterance that lies on this machine."""
        return Path(self.audio)

    @property
    def where(self) -> str:
        """Name for messages: the audio, and where the stretch starts in it."""
        return str(self.audio) if self.is_whole else f"{self.audio} from {self.start or 0.0:g} s"

    @property
    def stretch(self) -> str:
        """Name for documents: the file as its list names it, and where the stretch starts in it."""
        return self.file if self.is_whole else f"{self.file} from {self.start or 0.0:g} s"

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its file."""
        return self.start is None and self.duration is None

    @property
    def _source(self) -> Any:
        """What is decoded."""
        return self.audio.give() if isinstance(self.audio, Held) else self.audio

    @property
    def _how(self) -> dict[str, Any]:
        """Which of it is taken."""
        return {name: getattr(self, name) for name in ("channel", "start", "duration", "accept_damaged")}

    def blocks(self, notes: list[Note] | None = None) -> Iterator[np.ndarray]:
        """Decode it block by block; see `emotion2vec.audio.samples.audio_blocks`."""
        with self._naming():
            yield from audio_blocks(self._source, notes=notes, **self._how)

    def load(self, notes: list[Note] | None = None) -> np.ndarray:
        """Decode it, as `emotion2vec.audio.samples.load_audio` does.

        Args:
            notes: gets what is to be said of the audio.

        Returns:
            (S,) float32 mono at 16,000 Hz, not normalized.

        Raises:
            AudioError: it cannot be decoded or used, or the stretch is not inside the audio.
        """
        with self._naming():
            return load_audio(self._source, notes=notes, **self._how)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Have errors name the stretch."""
        try:
            yield
        except AudioError as error:
            if self.is_whole:
                raise
            raise AudioError(f"{self.where}: {str(error).removeprefix(f'{self.audio}: ')}") from error


@dataclass(frozen=True)
class Listing:
    """What a list, a folder, or several of them hold."""

    utterances: list[Utterance]
    """What can be used, in the order of the list (a folder: sorted)."""
    faults: list[Fault]
    """What cannot be used."""
    changes: list[Change] = field(default_factory=list)
    """Utterances that are used otherwise than they were listed, such as files that were searched for."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files of folders that are no audio by their endings, counted by those."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The utterances of a corpus or of a labelled table in a fixed order, with what was odd about them."""

    name: str
    root: Path
    """Folder that `file` of its utterances starts from."""
    utterances: tuple[Utterance, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Files that could not be used, and why."""
    warnings: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    """Files that are used otherwise than they were listed."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Files of its folders that are no audio by their endings, counted by those."""
    splits: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """Folds that the corpus brings along: fold → `train`, `valid`, `test` → positions of utterances."""
    mapping: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of joined corpora: corpus → its label → the class that it became, empty where it was left out."""

    @property
    def label_counts(self) -> dict[str, int]:
        """Utterances per label, labels in alphabetical order and unknown ones not counted."""
        return dict(sorted(Counter(one.label for one in self.utterances if one.label).items()))

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in alphabetical order; a class is the position in this list."""
        return tuple(self.label_counts)

    def keep(self, wanted: Sequence[bool], reasons: Mapping[str, str]) -> Corpus:
        """Only the wanted utterances, with the corpus's folds cut down to them; `reasons` says why others are not."""
        place = {old: new for new, old in enumerate(i for i, chosen in enumerate(wanted) if chosen)}
        splits = {
            fold: {part: tuple(place[i] for i in rows if i in place) for part, rows in parts.items()}
            for fold, parts in self.splits.items()
        }
        kept = tuple(self.utterances[i] for i in place)
        return replace(self, utterances=kept, left_out={**self.left_out, **reasons}, splits=splits)
