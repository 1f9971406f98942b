"""Labelled clips, whatever they were read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotion2vec.audio.decode.suffixes import AUDIO_SUFFIXES, SNDFILE_SUFFIXES
from emotion2vec.corpora.faults import Change
from emotion2vec.corpora.names import normal, stem

SHOWN = 5
"""Examples that a message lists before it only counts."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance; `file` is its path relative to the root, with forward slashes, and `label` empty where unknown."""

    file: str
    path: Path
    label: str
    speaker: str | None = None
    gender: str | None = None
    session: str | None = None
    text: str | None = None
    """What is said, in words."""
    sentence: str | None = None
    """Number or code of what is said, where only that is known: for noticing that folds share it."""
    intensity: str | None = None
    fold: str | None = None
    split: str | None = None
    corpus: str | None = None
    language: str | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    """Labels that are numbers, such as arousal."""
    dialogue: str | None = None
    turn: int | None = None
    """Place in the dialogue; clips of one speaker that follow each other may share it."""


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """The clips of a corpus or table in a fixed order, with what was odd about them."""

    name: str
    root: Path
    clips: tuple[Clip, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Files that could not be used, and why."""
    warnings: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    """Files that are used otherwise than they were listed."""
    splits: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    """Folds that the corpus brings along: fold → `train`, `valid`, `test` → positions of clips."""
    mapping: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of joined corpora: corpus → its label → the class that it became, empty where it was left out."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in alphabetical order; a class is the position in this list."""
        return tuple(sorted({clip.label for clip in self.clips} - {""}))

    def keep(self, wanted: Sequence[bool], reasons: Mapping[str, str]) -> ClipSet:
        """Only the wanted clips, with the corpus's folds cut down to them; `reasons` says why others are left out."""
        place = {old: new for new, old in enumerate(i for i, chosen in enumerate(wanted) if chosen)}
        splits = {
            fold: {part: tuple(place[i] for i in rows if i in place) for part, rows in parts.items()}
            for fold, parts in self.splits.items()
        }
        clips = tuple(self.clips[i] for i in place)
        return replace(self, clips=clips, left_out={**self.left_out, **reasons}, splits=splits)


def audio_files(root: Path) -> list[Path]:
    """All audio files below a folder, sorted; a video is none where the sound taken out of it lies beside it."""
    found = [path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()]
    taken_out = {path.with_suffix("") for path in found if path.suffix.lower() in SNDFILE_SUFFIXES}
    return sorted(
        path for path in found if path.suffix.lower() in SNDFILE_SUFFIXES or path.with_suffix("") not in taken_out
    )


class AudioIndex:
    """Audio by what identifies it, in whatever Unicode form.

    Args:
        root: folder that the audio lies below, for messages.
        paths: the files.
        name: what identifies a file, by default its stem.
    """

    def __init__(self, root: Path, paths: Iterable[Path], name: Callable[[Path], str] = stem):
        self._root = root
        self._paths: dict[str, list[Path]] = {}
        for path in paths:
            self._paths.setdefault(normal(name(path)), []).append(path)

    def find(self, name: str) -> Path | str:
        """The only file of that name, or why there is none."""
        found = self._paths.get(normal(name), [])
        if len(found) == 1:
            return found[0]
        if not found:
            return f"no audio of that name below {self._root}"
        return f"{len(found)} files of that name below {self._root}, such as {found[0]} and {found[1]}: expected one"


def examples(items: Sequence[str] | Iterable[str]) -> str:
    """Join the first few of a list for a message, and count the rest."""
    items = list(items)
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest


def label_counts(clips: Iterable[Clip]) -> dict[str, int]:
    """Count clips per label, labels in alphabetical order and unknown ones not counted."""
    return dict(sorted(Counter(clip.label for clip in clips if clip.label).items()))
