"""Lists of audio of every accepted kind -> utterances, without opening the audio.

Light: neither torch nor Lhotse is imported, except to read a Lhotse manifest.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from emotion2vec.audio.decode import AUDIO_SUFFIXES, is_audio_file
from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.lists import formats
from emotion2vec.corpora.lists.folders import audio_files, read_folder
from emotion2vec.corpora.lists.formats import Row
from emotion2vec.corpora.lists.lines import read_lines
from emotion2vec.corpora.lists.locate import Located, Locator, as_on_disk
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.names import path_id, span_name, stem
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ManifestError

ACCEPTED = (
    "an audio file, a folder, a fairseq .tsv, a Kaldi .scp, JSON lines of EmoBox, NeMo or Lhotse cuts "
    "(.jsonl, .json, .jsonl.gz), or a .csv or .tsv table with a column 'file'"
)


def read_manifest(source: str | Path, *, root: Path | None = None) -> Listing:
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
        manifest = read_folder(source)
    elif not source.is_file():
        raise ManifestError(f"{source}: does not exist, expected {ACCEPTED}")
    elif is_audio_file(source):
        return Listing([Utterance(id=stem(source), audio=source, file=source.name)], [])
    else:
        manifest = _read_list(source, root)
    if not manifest.utterances:
        raise ManifestError(f"{source}: no usable entry; {_summary(manifest.faults, source)}")
    return manifest


def _read_list(source: Path, root: Path | None) -> Listing:
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
    return Listing(entries.utterances, [*unreadable, *faults, *entries.faults], entries.changes)


def _entries(source: Path, rows: list[Row], base: Path) -> Listing:
    """Resolve the paths of rows against `base` and give each a unique id."""
    base = Path(os.path.abspath(base))
    locator = Locator(base, lambda: audio_files(base))
    found = {row.line: locator.find(row.path) for row in rows}
    uses = Counter(
        (place.path, row.start, row.duration, row.channel)
        for row in rows
        if isinstance(place := found[row.line], Located)
    )
    named: list[tuple[str, Utterance]] = []
    manifest = Listing([], [])
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
        id=row.key or path_id(base / place.listed, base) + span_name(row.start, row.duration),
        audio=place.path,
        file=PurePosixPath(place.listed).as_posix(),
        start=row.start,
        duration=row.duration,
        channel=row.channel,
        label=row.label,
        speaker=row.speaker,
    )


def _summary(faults: Iterable[Fault], source: Path) -> str:
    """Why nothing could be used: the first faults, or what was looked for."""
    faults = list(faults)
    if not faults:
        return f"looked for files ending in {', '.join(sorted(AUDIO_SUFFIXES))} in {source} and its subfolders"
    shown = "; ".join(str(fault) for fault in faults[:3])
    return f"{len(faults)} faults, the first of them: {shown}"
