"""Lists of audio of every accepted kind -> plain entries, without opening the audio.

S: samples. Light: neither torch nor Lhotse is imported, except to read a Lhotse manifest.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from emotion2vec.audio.decode import AUDIO_SUFFIXES, Note, is_audio_file
from emotion2vec.audio.decode.reading import DURATION_TOLERANCE
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.lists import formats
from emotion2vec.corpora.lists.formats import Row
from emotion2vec.corpora.lists.lines import read_lines
from emotion2vec.corpora.lists.locate import Located, Locator, as_on_disk
from emotion2vec.corpora.names import split_suffix, stem, without_suffix
from emotion2vec.errors import AudioError, ManifestError

__all__ = ["DURATION_TOLERANCE", "Fault", "Manifest", "Utterance", "load_utterance", "read_manifest"]

Entry = TypeVar("Entry", bound=Any)
"""An `Utterance`, or what has its fields."""

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
    changes: list[Change] = field(default_factory=list)
    """Entries that are used otherwise than they were listed, such as files that were searched for."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files of a folder that are no audio by their endings, counted by those."""


def read_manifest(source: str | Path, *, root: Path | None = None) -> Manifest:
    """Read any accepted list of audio; kinds are told apart by suffix, then by content.

    A listed path that does not exist is looked for as `emotion2vec.corpora.lists.locate` says: in other spellings,
    then by its name and stem below the root (EmoBox names `downloads/x.wav` for what is kept as `audio/x.flac`), never
    in a folder that the list names differently, and never where two files fit or another entry names the file too.

    Args:
        source: one audio file; a folder, searched recursively for audio (hidden names are passed over); a fairseq
            `.tsv`; a Kaldi `.scp`; JSON lines of EmoBox, NeMo or Lhotse cuts; or a table with a column `file`.
        root: folder that relative paths start from; by default the manifest's own (fairseq: its first line).

    Returns:
        The usable entries, one fault for each line that cannot be used: broken, pointing nowhere, or repeating an id;
        and what was found otherwise than it was listed.

    Raises:
        ManifestError: the source is missing, of an unknown kind or of the wrong columns, asks for commands to be run,
            or has not one usable entry.
    """
    source, root = as_on_disk(Path(source)), None if root is None else as_on_disk(root)
    if root is not None and not root.is_dir():
        raise ManifestError(f"{root}: not a folder, expected the root of the paths in {source}")
    if source.is_dir():
        manifest = _scan(source)
    elif not source.is_file():
        raise ManifestError(f"{source}: does not exist, expected {ACCEPTED}")
    elif is_audio_file(source):
        return Manifest([Utterance(id=stem(source), audio=source)], [])
    else:
        manifest = _read_list(source, root)
    if not manifest.utterances:
        raise ManifestError(f"{source}: no usable entry; {_summary(manifest.faults, source)}")
    return manifest


def load_utterance(
    utterance: Utterance, *, accept_damaged: bool = False, notes: list[Note] | None = None
) -> np.ndarray:
    """Decode the file or segment that an entry names, as `emotion2vec.audio.samples.load_audio` does.

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
    lines, unreadable = read_lines(source)
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
    entries = _entries(source, rows, base)
    return Manifest(entries.utterances, [*unreadable, *faults, *entries.faults], entries.changes)


def _entries(source: Path, rows: list[Row], base: Path) -> Manifest:
    """Resolve the paths of rows against `base` and give each a unique id."""
    base = Path(os.path.abspath(base))
    locator = Locator(base, lambda: audio_below(base, []))
    found = {row.line: locator.find(row.path) for row in rows}
    uses = Counter(
        (place.path, row.start, row.duration, row.channel)
        for row in rows
        if isinstance(place := found[row.line], Located)
    )
    named: list[tuple[str, Utterance]] = []
    manifest = Manifest([], [])
    for row in rows:
        where, place = f"{source}:{row.line}", found[row.line]
        if isinstance(place, str):
            manifest.faults.append(Fault(where, place))
        elif place.how is not None and uses[place.path, row.start, row.duration, row.channel] > 1:
            reason = f"{row.path!r} does not exist, and {place.path} of the same stem is named by another line too"
            manifest.faults.append(Fault(where, reason))
        else:
            named.append((where, _utterance(row, place, base)))
            if place.how is not None:
                manifest.changes.append(Change(where, place.how, f"{row.path} is {place.path}"))
    utterances, repeated = unique_ids(named, keyed={f"{source}:{row.line}" for row in rows if row.key})
    return replace(manifest, utterances=utterances, faults=[*manifest.faults, *repeated])


def _utterance(row: Row, place: Located, base: Path) -> Utterance:
    return Utterance(
        id=row.key or _path_id(base / place.listed, base) + _span(row),
        audio=place.path,
        start=row.start,
        duration=row.duration,
        channel=row.channel,
        label=row.label,
        speaker=row.speaker,
    )


def _scan(folder: Path) -> Manifest:
    """Find audio in a folder and its subfolders."""
    faults: list[Fault] = []
    left_out: Counter[str] = Counter()
    paths = audio_below(folder, faults, left_out)
    named = [(str(path), Utterance(id=_path_id(path, folder), audio=path)) for path in paths]
    utterances, repeated = unique_ids(named, keyed=set())
    return Manifest(utterances, [*faults, *repeated], left_out=left_out)


def audio_below(folder: Path, faults: list[Fault], left_out: Counter[str] | None = None) -> list[Path]:
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


def unique_ids(named: Sequence[tuple[str, Entry]], keyed: set[str]) -> tuple[list[Entry], list[Fault]]:
    """Tell ids apart that the list does not give itself; an id that is still taken or unsafe is a fault.

    Args:
        named: where each entry stands, and the entry.
        keyed: places of those whose ids the list gives, which are not changed.
    """
    others = iter(tell_apart([utterance for where, utterance in named if where not in keyed]))
    first: dict[str, str] = {}
    utterances: list[Entry] = []
    faults: list[Fault] = []
    for where, given in named:
        utterance = given if where in keyed else next(others)
        name = utterance.id
        if name in first:
            faults.append(Fault(where, f"the id {name!r} was given at {first[name]} already, expected unique ids"))
        elif Path(name).is_absolute() or ".." in Path(name).parts:
            faults.append(Fault(where, f"the id {name!r} would leave its folder, expected no '..' and no leading '/'"))
        else:
            first[name] = where
            utterances.append(utterance)
    return utterances, faults


def tell_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Give entries of one id different ones: by the suffixes of their files, then by speaker, channel, and number.

    Entries that are the same stretch of the same file by the same speaker keep one id.
    """
    found = list(entries)
    endings: list[Callable[[Entry], str]] = [
        lambda entry: split_suffix(str(entry.audio))[1],
        lambda entry: f"_{entry.speaker}".replace("/", "_") if entry.speaker else "",
        lambda entry: f"_channel{entry.channel}" if entry.channel is not None else "",
    ]
    for ending in endings:
        groups: dict[str, set[str]] = defaultdict(set)
        for entry in found:
            groups[entry.id].add(ending(entry))
        found = [replace(entry, id=entry.id + ending(entry)) if len(groups[entry.id]) > 1 else entry for entry in found]
    return _numbered(found)


def _numbered(entries: Sequence[Entry]) -> list[Entry]:
    """Add `#2` and so on to ids that other entries have, or have after this."""
    taken = {entry.id for entry in entries}
    owners: dict[str, tuple[Any, ...]] = {}
    names: dict[tuple[Any, ...], str] = {}
    found = []
    for entry in entries:
        what = entry.id, entry.audio, entry.start, entry.duration, entry.channel, entry.speaker
        name = names.get(what, entry.id)
        if owners.setdefault(name, what) != what:
            number = 2
            while f"{entry.id}#{number}" in taken:
                number += 1
            name = f"{entry.id}#{number}"
            taken.add(name)
            owners[name] = what
        names[what] = name
        found.append(entry if name == entry.id else replace(entry, id=name))
    return found


def _path_id(path: Path, base: Path) -> str:
    """Path below `base` (elsewhere: from the file system's root) without suffix, with `/` between its parts."""
    path, base = Path(os.path.abspath(path)), Path(os.path.abspath(base))
    below = base if path.is_relative_to(base) else Path(path.anchor)
    return without_suffix(path.relative_to(below))


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
