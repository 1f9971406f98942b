"""Labelled corpora: what a folder or a table says about each clip, read by file stem whatever the extension."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emotion2vec.audio import AUDIO_SUFFIXES
from emotion2vec.errors import ConfigError, ManifestError

SHOWN = 5
"""Examples that a message lists before it only counts."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One labelled utterance; `file` is its path relative to the root, with forward slashes."""

    file: str
    path: Path
    label: str
    speaker: str | None = None
    gender: str | None = None
    session: str | None = None
    fold: str | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """The clips of a corpus or table in a fixed order, with what was odd about them."""

    name: str
    root: Path
    clips: tuple[Clip, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    """Files that could not be used, and why."""
    warnings: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels in alphabetical order; a class is the position in this list."""
        return tuple(sorted({clip.label for clip in self.clips}))


Facts = dict[str, str]
"""Fields of a clip that its name gives: `label`, and where known `speaker`, `gender`, `session`."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """How to read one corpus."""

    title: str
    clips: int
    """Utterances of the complete corpus, as published."""
    pattern: str
    """A clip's stem, for messages."""
    read: Callable[[str], Facts | None]
    """Turns a file's stem into facts, or None when the file is not a clip of the corpus."""


def _read_nemo(stem: str) -> Facts | None:
    """`WR0_surprised_64`: speaker, emotion, number (Christop, 2024, arXiv:2404.06292)."""
    match = re.fullmatch(r"([A-Z]{2}\d)_(anger|fear|happiness|neutral|sadness|surprised)_\d+", stem)
    if match is None:
        return None
    gender = "male" if match[1] in {"KS0", "MP0", "SM0", "TP0", "WR0"} else "female"
    return {"speaker": match[1], "label": match[2], "gender": gender}


ASED_EMOTIONS = {"n": "neutral", "f": "fear", "h": "happiness", "s": "sadness", "a": "anger"}


def _read_ased(stem: str) -> Facts | None:
    """`a5-02-01-01-33`: emotion, sentence, repetition, sex (01 female), speaker (Retta et al., 2023)."""
    match = re.fullmatch(r"([nfhsa])\d-\d\d-\d\d-(01|02)-(\d\d)", stem.lower())
    if match is None:
        return None
    return {"speaker": match[3], "label": ASED_EMOTIONS[match[1]], "gender": "female" if match[2] == "01" else "male"}


EMODB_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}


def _read_emodb(stem: str) -> Facts | None:
    """`03a01Fa`: speaker, text, emotion's German initial (A: Angst), version (Burkhardt et al., 2005)."""
    match = re.fullmatch(r"(\d\d)[ab]\d\d([WLEAFTN])[a-z]?", stem)
    if match is None:
        return None
    gender = "male" if match[1] in {"03", "10", "11", "12", "15"} else "female"
    return {"speaker": match[1], "label": EMODB_EMOTIONS[match[2]], "gender": gender}


RAVDESS_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}


def _read_ravdess(stem: str) -> Facts | None:
    """`03-01-06-01-02-01-12`: modality (03: audio), channel (01: speech), emotion, …, actor (Livingstone, 2018)."""
    match = re.fullmatch(r"03-01-(0[1-8])-\d\d-\d\d-\d\d-(\d\d)", stem)
    if match is None:
        return None
    gender = "male" if int(match[2]) % 2 else "female"
    return {"speaker": match[2], "label": RAVDESS_EMOTIONS[match[1]], "gender": gender}


CORPORA = {
    "ased": Corpus(title="ASED v1", clips=2474, pattern="a5-02-01-01-33", read=_read_ased),
    "emodb": Corpus(title="EmoDB", clips=535, pattern="03a01Fa", read=_read_emodb),
    "nemo": Corpus(title="nEMO", clips=4481, pattern="WR0_surprised_64", read=_read_nemo),
    "ravdess": Corpus(title="RAVDESS speech", clips=1440, pattern="03-01-06-01-02-01-12", read=_read_ravdess),
}
"""Corpora by the name that `--dataset` takes."""


def read_corpus(name: str, root: str | Path) -> ClipSet:
    """Find a named corpus's clips anywhere below `root`.

    Args:
        name: a key of `CORPORA`.
        root: folder of the corpus, in its published layout or any other: only file stems count.

    Returns:
        The clips, sorted by stem. A stem found twice is taken once, and a number of clips other than the published
        one is reported; both as warnings.

    Raises:
        ConfigError: the name is not known.
        ManifestError: the folder is missing or holds no clip of the corpus.
    """
    if name not in CORPORA:
        raise ConfigError(f"dataset is {name!r}, expected one of {', '.join(CORPORA)}, or a table of your own")
    corpus, root = CORPORA[name], Path(root)
    if not root.is_dir():
        raise ManifestError(f"root {root}: no such folder, expected the folder of {corpus.title}")
    found: dict[str, Clip] = {}
    doubled: list[str] = []
    audio = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    for path in audio:
        facts = corpus.read(path.stem)
        if facts is None:
            continue
        file = path.relative_to(root).as_posix()
        if path.stem in found:
            doubled.append(file)
            continue
        found[path.stem] = Clip(file=file, path=path, **facts)
    if not found:
        seen = f"{len(audio)} audio files such as {audio[0].name}" if audio else "no audio files"
        raise ManifestError(
            f"root {root}: found {seen}, expected the clips of {corpus.title}, named such as {corpus.pattern}.wav"
        )
    warnings = []
    if doubled:
        warnings.append(f"{len(doubled)} clips of {corpus.title} lie below {root} twice; left out: {examples(doubled)}")
    if len(found) != corpus.clips:
        warnings.append(f"{root} holds {len(found)} clips of {corpus.title}, expected {corpus.clips}")
    clips = tuple(found[stem] for stem in sorted(found))
    return ClipSet(name=name, root=root, clips=clips, warnings=tuple(warnings))


def examples(items: Sequence[str] | Iterable[str]) -> str:
    """Join the first few of a list for a message, and count the rest."""
    items = list(items)
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest


def label_counts(clips: Iterable[Clip]) -> dict[str, int]:
    """Count clips per label, labels in alphabetical order."""
    return dict(sorted(Counter(clip.label for clip in clips).items()))
