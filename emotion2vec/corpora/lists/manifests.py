"""Lists of audio of every accepted kind -> utterances, without opening the audio.

Light: neither torch nor Lhotse is imported, except to read a Lhotse manifest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from emotion2vec.audio.decode import AUDIO_SUFFIXES, is_audio_file
from emotion2vec.corpora.faults import Change, Fault, shortened
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.fairseq import is_fairseq, parse_fairseq
from emotion2vec.corpora.lists.folders import read_folder
from emotion2vec.corpora.lists.jsonlines import parse_json_lines
from emotion2vec.corpora.lists.kaldi import parse_scp
from emotion2vec.corpora.lists.lines import check_header, parse_records, read_lines
from emotion2vec.corpora.lists.locate import as_on_disk
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.lists.rows import Row, collect, find_audio
from emotion2vec.corpora.lists.tables import parse_table
from emotion2vec.corpora.lists.workbooks import is_workbook, read_workbook
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ManifestError

ACCEPTED = (
    "an audio file, a folder, a fairseq .tsv, a Kaldi .scp, JSON lines of EmoBox, NeMo or Lhotse cuts "
    "(.jsonl, .json, .jsonl.gz), a .csv, .tsv or .xlsx table with a column 'file', or a .txt with a path on each line"
)


def read_manifest(source: str | Path, *, root: Path | None = None, names: Names | None = None) -> Listing:
    """Read any accepted list of audio; kinds are told apart by suffix, then by content.

    A listed path that does not exist is looked for as `emotion2vec.corpora.lists.locate` says: in other spellings,
    then by its name and stem below the root (EmoBox names `downloads/x.wav` for what is kept as `audio/x.flac`), never
    in a folder that the list names differently, and never where two files fit or another entry names the file too.

    Args:
        source: one audio file; a folder, searched recursively for audio (hidden names are passed over); a fairseq
            `.tsv`; a Kaldi `.scp`; JSON lines of EmoBox, NeMo or Lhotse cuts; a table with a column `file`; or a
            `.txt` with a path on each line (with tabs in its first line, a table, as Excel writes it).
        root: folder that relative paths start from; by default the manifest's own (fairseq: its first line).
        names: what tables and JSON lines call columns and labels.

    Returns:
        The usable entries, one fault for each line that cannot be used: broken, pointing nowhere, or repeating an id;
        and what was found otherwise than it was listed.

    Raises:
        ManifestError: the source is missing, of an unknown kind or of the wrong columns, asks for commands to be run,
            or has not one usable entry.
    """
    try:
        os.stat(source)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) not in (errno.ENOENT, errno.ENOTDIR):
            reason = getattr(error, "strerror", None) or str(error)
            raise ManifestError(f"{shortened(str(source))}: cannot be opened: {reason}") from error
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
        manifest = _read_list(source, root, names)
    if not manifest.utterances:
        raise ManifestError(f"{source}: no usable entry; {_summary(manifest.faults, source)}")
    return manifest


def _read_list(source: Path, root: Path | None, names: Names | None) -> Listing:
    """Read a text manifest of any kind, resolve its paths and name its entries."""
    if is_workbook(source):
        rows, faults = parse_table(source, read_workbook(source), names)
        entries = _entries(source, rows, root or source.parent)
        return Listing(entries.utterances, [*faults, *entries.faults], entries.changes)
    lines, unreadable = read_lines(source)
    if not lines:
        raise ManifestError(f"{source}: the file is empty, expected {ACCEPTED}")
    base = root or source.parent
    suffixes = [suffix.lower() for suffix in source.suffixes]
    if suffixes[-1:] == [".scp"]:
        rows, faults = parse_scp(source, lines)
    elif suffixes[-1:] == [".tsv"] and is_fairseq(lines):
        rows, faults = parse_fairseq(source, lines)
        base = root or source.parent / lines[0][1].strip()
    elif suffixes[-1:] in ([".csv"], [".tsv"]) or (suffixes[-1:] == [".txt"] and "\t" in lines[0][1]):
        check_header(source, lines, unreadable)
        rows, faults = parse_table(source, parse_records(source, lines), names)
    elif suffixes[-1:] == [".txt"]:
        rows, faults = collect(source, lines, lambda number, line: Row(line=number, path=line))
    elif suffixes[-1:] in ([".jsonl"], [".json"]) or suffixes[-2:] in ([".jsonl", ".gz"], [".json", ".gz"]):
        rows, faults = parse_json_lines(source, lines, names)
    else:
        raise ManifestError(f"{source}: unknown kind of manifest {source.suffix!r}, expected {ACCEPTED}")
    entries = _entries(source, rows, base)
    return Listing(entries.utterances, [*unreadable, *faults, *entries.faults], entries.changes)


def _entries(source: Path, rows: list[Row], base: Path) -> Listing:
    """Look the audio of rows up below `base`, and give each a unique id."""
    found = find_audio(rows, base)
    named = [(f"{source}:{row.line}", utterance) for row, utterance in found.utterances]
    utterances, repeated = unique_ids(named, keyed={f"{source}:{row.line}" for row in rows if row.key})
    missing = [Fault(f"{source}:{row.line}", reason) for row, reason in found.missing]
    changes = [Change(f"{source}:{row.line}", how, f"{row.path} is {path}") for row, how, path in found.changes]
    return Listing(utterances, [*missing, *repeated], changes)


def _summary(faults: Iterable[Fault], source: Path) -> str:
    """Why nothing could be used: the first faults, or what was looked for."""
    faults = list(faults)
    if not faults and source.is_file():
        return "it names nothing"
    if not faults:
        return f"looked for files ending in {', '.join(sorted(AUDIO_SUFFIXES))} in {source} and its subfolders"
    shown = "; ".join(str(fault) for fault in faults[:3])
    return f"{len(faults)} faults, the first of them: {shown}"
