"""Lists of audio of every accepted kind -> plain entries, without opening the audio.

S: samples. Light: neither torch nor Lhotse is imported, except to read a Lhotse manifest.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from emotion2vec.audio import load_audio
from emotion2vec.data import formats
from emotion2vec.data.formats import Fault, Row
from emotion2vec.decode import AUDIO_SUFFIXES, Note, is_audio_file
from emotion2vec.decode.reading import DURATION_TOLERANCE
from emotion2vec.errors import AudioError, ManifestError

__all__ = ["DURATION_TOLERANCE", "Fault", "Manifest", "Utterance", "load_utterance", "read_manifest"]

ACCEPTED = (
    "an audio file, a folder, a fairseq .tsv, a Kaldi .scp, JSON lines of EmoBox, NeMo or Lhotse cuts "
    "(.jsonl, .json, .jsonl.gz), or a .csv or .tsv table with a column 'file'"
)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One stretch of speech.

    Attributes:
        id: unique in its manifest: the key that the manifest gives, else the path as listed, below the root where it
            is, without suffix (and with `_start_end` if it is a segment). Never absolute, never leaves its folder.
        audio: the file.
        start: start of the segment, in s; None for the whole file.
        duration: length of the segment, in s; None for all until the end of the file.
        channel: the channel to take, counted from 0; None for the mean of all.
        label: the emotion, as the manifest spells it.
        speaker: the speaker, as the manifest spells it.
    """

    id: str
    audio: Path
    start: float | None = None
    duration: float | None = None
    channel: int | None = None
    label: str | None = None
    speaker: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What a manifest holds: usable entries in its order (a folder: sorted), and what could not be used."""

    utterances: list[Utterance]
    faults: list[Fault]
    left_out: Counter[str] = field(default_factory=Counter)
    """Files of a folder that are no audio by their endings, counted by those."""


def read_manifest(source: str | Path, *, root: Path | None = None) -> Manifest:
    """Read any accepted list of audio; kinds are told apart by suffix, then by content.

    A listed path that does not exist is looked for by its stem below the root (EmoBox names `downloads/x.wav` for what
    is kept as `audio/x.flac`): it is taken if just one file has the stem, or one shares more parent folders with the
    listed path than the others do, and no other entry names that file.

    Args:
        source: one audio file; a folder, searched recursively for audio (hidden names are passed over); a fairseq
            `.tsv`; a Kaldi `.scp`; JSON lines of EmoBox, NeMo or Lhotse cuts; or a table with a column `file`.
        root: folder that relative paths start from; by default the manifest's own (fairseq: its first line).

    Returns:
        The usable entries, and one fault for each line that cannot be used: broken, pointing nowhere, or repeating
        an id.

    Raises:
        ManifestError: the source is missing, of an unknown kind or of the wrong columns, asks for commands to be run,
            or has not one usable entry.
    """
    source = Path(source)
    if root is not None and not root.is_dir():
        raise ManifestError(f"{root}: not a folder, expected the root of the paths in {source}")
    if source.is_dir():
        manifest = _scan(source)
    elif not source.is_file():
        raise ManifestError(f"{source}: does not exist, expected {ACCEPTED}")
    elif is_audio_file(source):
        return Manifest([Utterance(id=source.stem, audio=source)], [])
    else:
        manifest = _read_list(source, root)
    if not manifest.utterances:
        raise ManifestError(f"{source}: no usable entry; {_summary(manifest.faults, source)}")
    return manifest


def load_utterance(
    utterance: Utterance, *, accept_damaged: bool = False, notes: list[Note] | None = None
) -> np.ndarray:
    """Decode the file or segment that an entry names, as `emotion2vec.audio.load_audio` does.

    Args:
        utterance: the entry.
        accept_damaged: take what can be decoded of a damaged file.
        notes: gets what is to be said of the audio.

    Returns:
        (S,) float32 mono at 16,000 Hz, not normalized.

    Raises:
        AudioError: it cannot be decoded or used, or the segment is not inside the audio.
    """
    if utterance.start is None and utterance.duration is None:
        return load_audio(utterance.audio, channel=utterance.channel, accept_damaged=accept_damaged, notes=notes)
    try:
        return load_audio(
            utterance.audio,
            channel=utterance.channel,
            start=utterance.start or 0.0,
            duration=utterance.duration,
            accept_damaged=accept_damaged,
            notes=notes,
        )
    except AudioError as error:
        where = f"{utterance.audio} from {utterance.start or 0.0:g} s"
        raise AudioError(f"{where}: {str(error).removeprefix(f'{utterance.audio}: ')}") from error


def _read_list(source: Path, root: Path | None) -> Manifest:
    """Read a text manifest of any kind, resolve its paths and name its entries."""
    lines, unreadable = formats.read_lines(source)
    if not lines:
        raise ManifestError(f"{source}: the file is empty, expected {ACCEPTED}")
    base = root or source.parent
    suffixes = [suffix.lower() for suffix in source.suffixes]
    if suffixes[-1:] == [".scp"]:
        rows, faults = formats.parse_scp(source, lines)
    elif suffixes[-1:] == [".tsv"] and formats.is_fairseq(lines):
        rows, faults = formats.parse_fairseq(source, lines)
        base = root or source.parent / lines[0][1].strip()
    elif suffixes[-1:] in ([".csv"], [".tsv"]):
        rows, faults = formats.parse_table(source, lines)
    elif suffixes[-1:] in ([".jsonl"], [".json"]) or suffixes[-2:] in ([".jsonl", ".gz"], [".json", ".gz"]):
        rows, faults = formats.parse_json_lines(source, lines)
    else:
        raise ManifestError(f"{source}: unknown kind of manifest {source.suffix!r}, expected {ACCEPTED}")
    utterances, unusable = _entries(source, rows, base)
    return Manifest(utterances, [*unreadable, *faults, *unusable])


def _entries(source: Path, rows: list[Row], base: Path) -> tuple[list[Utterance], list[Fault]]:
    """Resolve the paths of rows against `base` and give each a unique id."""
    found = {row.line: Path(os.path.normpath(base / row.path)) for row in rows}
    missing = [row for row in rows if not found[row.line].is_file()]
    elsewhere, faults = _search_by_stem(source, missing, base) if missing else ({}, [])
    found.update(elsewhere)

    lost = {row.line for row in missing} - elsewhere.keys()
    uses = Counter((found[row.line], row.start, row.duration, row.channel) for row in rows if row.line not in lost)
    named: list[tuple[str, Utterance]] = []
    for row in rows:
        where, audio = f"{source}:{row.line}", found[row.line]
        if row.line in lost:
            continue
        if row.line in elsewhere and uses[audio, row.start, row.duration, row.channel] > 1:
            reason = f"{row.path!r} does not exist, and {audio} of the same stem is named by another line too"
            faults.append(Fault(where, reason))
            continue
        utterance = Utterance(
            id=row.key or _path_id(base / row.path, base) + _span(row),
            audio=audio,
            start=row.start,
            duration=row.duration,
            channel=row.channel,
            label=row.label,
            speaker=row.speaker,
        )
        named.append((where, utterance))
    utterances, repeated = _unique(named, keyed={f"{source}:{row.line}" for row in rows if row.key})
    return utterances, [*faults, *repeated]


def _search_by_stem(source: Path, missing: list[Row], base: Path) -> tuple[dict[int, Path], list[Fault]]:
    """Find files that are not where they are listed by their stem below `base`; line -> file."""
    index: dict[str, list[Path]] = defaultdict(list)
    for path in _audio_below(base, []):
        index[path.stem].append(path)
    found: dict[int, Path] = {}
    faults: list[Fault] = []
    for row in missing:
        candidates = index.get(Path(row.path).stem, [])
        match = _closest(Path(row.path), candidates)
        if match is not None:
            found[row.line] = match
            continue
        reason = f"{row.path!r} does not exist below {base}"
        if candidates:
            reason += f", and {len(candidates)} files have its stem, such as {candidates[0]} and {candidates[1]}"
        faults.append(Fault(f"{source}:{row.line}", reason))
    return found, faults


def _closest(listed: Path, candidates: list[Path]) -> Path | None:
    """The only candidate, or the one that shares strictly more trailing folders with the listed path."""

    def shared(candidate: Path) -> int:
        parents = zip(reversed(listed.parts[:-1]), reversed(candidate.parts[:-1]), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], parents))

    ranked = sorted(candidates, key=shared, reverse=True)
    if len(ranked) > 1 and shared(ranked[0]) == shared(ranked[1]):
        return None
    return ranked[0] if ranked else None


def _scan(folder: Path) -> Manifest:
    """Find audio in a folder and its subfolders."""
    faults: list[Fault] = []
    left_out: Counter[str] = Counter()
    paths = _audio_below(folder, faults, left_out)
    named = [(str(path), Utterance(id=_path_id(path, folder), audio=path)) for path in paths]
    utterances, repeated = _unique(named, keyed=set())
    return Manifest(utterances, [*faults, *repeated], left_out)


def _audio_below(folder: Path, faults: list[Fault], left_out: Counter[str] | None = None) -> list[Path]:
    """Sorted audio files below a folder; links are followed, once; what cannot be opened is added to `faults`.

    Files with other endings are counted in `left_out`.
    """
    seen: set[tuple[int, int]] = set()
    paths: list[Path] = []
    walk = os.walk(folder, followlinks=True, onerror=lambda e: faults.append(Fault(str(e.filename), str(e.strerror))))
    for parent, folders, files in walk:
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() not in AUDIO_SUFFIXES:
                if left_out is not None:
                    left_out[path.suffix.lower()] += 1
                continue
            if path.is_file():
                paths.append(path)
            else:
                faults.append(Fault(str(path), "the link points nowhere"))
    return sorted(paths)


def _unique(named: list[tuple[str, Utterance]], keyed: set[str]) -> tuple[list[Utterance], list[Fault]]:
    """Tell ids that differ only in the file's suffix apart by it; an id that is still taken or unsafe is a fault."""
    counts = Counter(utterance.id for _, utterance in named)
    first: dict[str, str] = {}
    utterances: list[Utterance] = []
    faults: list[Fault] = []
    for where, utterance in named:
        name = utterance.id
        if counts[name] > 1 and where not in keyed:
            name += utterance.audio.suffix
        if name in first:
            faults.append(Fault(where, f"the id {name!r} was given at {first[name]} already, expected unique ids"))
        elif Path(name).is_absolute() or ".." in Path(name).parts:
            faults.append(Fault(where, f"the id {name!r} would leave its folder, expected no '..' and no leading '/'"))
        else:
            first[name] = where
            utterances.append(replace(utterance, id=name))
    return utterances, faults


def _path_id(path: Path, base: Path) -> str:
    """Path below `base` (elsewhere: from the file system's root) without suffix, with `/` between its parts."""
    path, base = Path(os.path.abspath(path)), Path(os.path.abspath(base))
    below = base if path.is_relative_to(base) else Path(path.anchor)
    return path.relative_to(below).with_suffix("").as_posix()


def _span(row: Row) -> str:
    """Suffix that tells the segments of one file apart; nothing for a whole file."""
    if row.start is None and row.duration is None:
        return ""
    start = row.start or 0.0
    return f"_{start:.3f}_" + ("end" if row.duration is None else f"{start + row.duration:.3f}")


def _summary(faults: Iterable[Fault], source: Path) -> str:
    """Why nothing could be used: the first faults, or what was looked for."""
    faults = list(faults)
    if not faults:
        return f"looked for files ending in {', '.join(sorted(AUDIO_SUFFIXES))} in {source} and its subfolders"
    shown = "; ".join(str(fault) for fault in faults[:3])
    return f"{len(faults)} faults, the first of them: {shown}"
