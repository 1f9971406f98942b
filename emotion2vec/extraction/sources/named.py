"""What a user names -> a list of stretches of audio: files, folders, globs, manifests, lists on stdin, URLs, segments.

Nothing is opened here but the lists themselves.
"""

from __future__ import annotations

import codecs
import glob
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from emotion2vec.audio.decode import AUDIO_SUFFIXES, is_audio_file
from emotion2vec.audio.decode.remote import patience
from emotion2vec.corpora.faults import Change, Fault, reason_of
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.lines import MOST_LINES, narrow, read_bounded, split_lines
from emotion2vec.corpora.lists.locate import Located, Locator
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.naming import tell_apart
from emotion2vec.corpora.lists.speech import cut_at_silence
from emotion2vec.corpora.names import path_id, stem, without_suffix
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.sources.cutting import cut_by, in_time, one_per_channel
from emotion2vec.extraction.sources.diarizers import diarized, is_diarizer
from emotion2vec.extraction.sources.options import SourceOptions
from emotion2vec.processors import default_workers
from emotion2vec.settings import from_keywords

VAD = "vad"
"""The name that `segments` has for stretches with speech, in place of a file's."""

BY_CHANNEL = "channel"
"""The name that `speakers` has for one speaker in each channel."""

MOST_PIPED = 1 << 28
"""Bytes of a list on stdin, which is paths alone and may be endless."""

AnySources = str | Path | Listing | Sequence[str | Path]


def read_sources(
    sources: AnySources, *, shard: str | None = None, workers: int | None = None, **options: Any
) -> Listing:
    """List the audio that one source or several name.

    Args:
        sources: audio files, folders, globs (`/speech/**/*.wav`), manifests of every kind that `read_manifest` takes,
            URLs (`s3://bucket/a.wav`, also with a glob), or `-` for a list of paths and URLs on stdin, one a line (or
            separated by NUL, for names with newlines); or a manifest that was read already.
        shard: `i/n` for every n-th item from the i-th on; with `vad`, every n-th recording.
        workers: threads that open files; None for one per processor, at most 8.
        options: see `SourceOptions`. `root`: folder that relative paths in manifests and on stdin start from.
            `channel`: take this channel of every file, counted from 0, unless a manifest names another. `segments`: see
            `cut_by`, or `diarized` for a function or command; or `vad` for the stretches with speech, which decodes all
            audio once. `speakers`: `channel`, see `one_per_channel`. `accept_damaged`: take what there is of damaged
            files. `columns`, `labels`: what tables call their columns and labels, `ours=theirs`.

    Raises:
        ManifestError: a source cannot be read, or there is nothing to extract.
        ConfigError: an option is wrong, no source is given, or `vad` needs a package that is missing.
    """
    chosen: SourceOptions = from_keywords(SourceOptions, options)
    _check(chosen)
    named: Sequence[str | Path | Listing] = (
        [sources] if isinstance(sources, str | os.PathLike | Listing) else list(sources)
    )
    if not named:
        raise ConfigError("no source is given, expected audio files, folders, manifests, URLs or -")
    names = Names.of(chosen.columns, chosen.labels, keep=True)
    found = _joined([_read_source(source, chosen.root, names) for source in named])
    if not all(isinstance(source, Listing) for source in named):
        names.warn()
    by_vad = isinstance(chosen.segments, str | os.PathLike) and str(chosen.segments) == VAD
    if chosen.segments is not None and not by_vad:
        divide = diarized if is_diarizer(chosen.segments) else cut_by
        found = _instead(found, divide(found.utterances, chosen.segments))
    if not found.utterances:
        why = "; ".join(map(str, found.faults[:3])) or "no audio is listed"
        raise ManifestError(f"nothing to extract: {why}")
    items = found.utterances
    if chosen.channel is not None:
        items = [replace(item, channel=chosen.channel) if item.channel is None else item for item in items]
    if chosen.accept_damaged:
        items = [replace(item, accept_damaged=True) for item in items]
    found = replace(found, utterances=take_shard(items, shard))
    if chosen.speakers is not None:
        found = _instead(found, one_per_channel(found.utterances, workers or default_workers()))
    if by_vad:
        cut, silent = cut_at_silence(found.utterances, workers or default_workers())
        if chosen.speakers is not None:
            cut = in_time(cut, lambda item: str(item.audio))
        found = _instead(found, Listing(cut, silent))
    return found


def _check(options: SourceOptions) -> None:
    """Raise ConfigError for options that are wrong, whatever the sources."""
    faults = []
    if options.channel is not None and options.channel < 0:
        faults.append(f"channel is {options.channel}, expected 0 or more")
    if options.speakers not in (None, BY_CHANNEL):
        faults.append(f"speakers is {options.speakers!r}, expected {BY_CHANNEL}")
    if options.speakers is not None and options.channel is not None:
        faults.append("speakers and channel are given, expected one of them")
    if faults:
        raise ConfigError("; ".join(faults))


def _joined(parts: Sequence[Listing]) -> Listing:
    """Several lists as one."""
    return Listing(
        [item for part in parts for item in part.utterances],
        [fault for part in parts for fault in part.faults],
        [change for part in parts for change in part.changes],
        sum((part.left_out for part in parts), Counter[str]()),
    )


def _instead(before: Listing, made: Listing) -> Listing:
    """A list whose utterances became others."""
    return Listing(made.utterances, before.faults + made.faults, before.changes + made.changes, before.left_out)


def take_shard(items: list[Utterance], shard: str | None) -> list[Utterance]:
    """Take every n-th item from the i-th on, of a shard named `i/n` with 0 ≤ i < n (as SLURM counts array tasks).

    Raises:
        ConfigError: it is no such name.
    """
    first, count = parse_shard(shard)
    return items[first::count]


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Read `i/n` with 0 ≤ i < n, as SLURM counts array tasks; None is all, 0/1.

    Raises:
        ConfigError: it is no such name.
    """
    first, _, count = (shard or "0/1").partition("/")
    if not (first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise ConfigError(f"shard is {shard!r}, expected i/n with i from 0 to n - 1, such as 0/4")
    return int(first), int(count)


def _read_source(source: str | Path | Listing, root: Path | None, names: Names) -> Listing:
    if isinstance(source, Listing):
        return source
    text = str(source)
    if text == "-":
        return _from_list(read_bounded(sys.stdin.buffer, "the list on stdin", MOST_PIPED), root)
    if "://" in text:
        return Listing(list(_from_url(text)), [])
    if glob.has_magic(text) and not os.path.lexists(text):
        return _from_glob(text)
    manifest = read_manifest(source, root=root, names=names)
    if os.path.isdir(source) or is_audio_file(Path(source)):  # named as the user names it, not as a list does
        return replace(manifest, utterances=[replace(item, file=str(item.audio)) for item in manifest.utterances])
    return manifest


def _from_list(raw: bytes, root: Path | None) -> Listing:
    """Paths and URLs, one a line; names that are no Unicode are kept as they are."""
    is_wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not is_wide and b"\0" in raw and (raw.endswith(b"\0") or b"\n" not in raw):
        if raw.count(b"\0") > MOST_LINES:
            raise ManifestError(
                f"the list on stdin: has more than {MOST_LINES:,} names, expected fewer: give it in parts"
            )
        lines = raw.split(b"\0")
    else:
        lines = split_lines(narrow(raw))
    base = Path(os.path.abspath(root or Path.cwd()))
    locator = Locator(base, lambda: [])  # paths are not searched for: whoever lists them knows where they are
    found: list[Utterance] = []
    changes: list[Change] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found += _from_line(os.fsdecode(line), base, locator, changes)
        except Exception as error:  # whatever one line holds must not end a job of many
            reason = str(error) if isinstance(error, ManifestError) else reason_of(error)
            faults.append(Fault(f"-:{number}", reason))
    return Listing(tell_apart(found), faults, changes)


def _from_line(name: str, base: Path, locator: Locator, changes: list[Change]) -> list[Utterance]:
    """What one line names; `changes` gets what was found otherwise."""
    if "://" in name:
        items = list(_from_url(name))
    else:
        place = locator.find(name)
        if not isinstance(place, Located):
            place = Located(Path(os.path.normpath(base / name)), name)
        items = [Utterance(id=path_id(Path(os.path.normpath(base / place.listed)), base), audio=place.path)]
        if place.how is not None:
            changes.append(Change("-", place.how, f"{name} is {place.path}"))
    if any(stem(item.id) in ("", ".", "..") for item in items):
        raise ValueError(f"{name!r} names no file")
    return items


def _from_glob(pattern: str) -> Listing:
    """Files that a pattern matches; their ids are their paths below the part of the pattern without wildcards."""
    base = Path(os.path.abspath(os.path.join(*_fixed_parts(Path(pattern).parts), "")))
    forms = {pattern, *(unicodedata.normalize(form, pattern) for form in ("NFC", "NFD"))}
    names = {name for form in forms for name in glob.glob(form, recursive=True)}
    paths = [Path(os.path.abspath(name)) for name in sorted(names)]
    items = [
        Utterance(id=path_id(path, base), audio=path)
        for path in paths
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    ]
    if not items:
        known = ", ".join(sorted(AUDIO_SUFFIXES))
        raise ManifestError(f"{pattern}: matches no audio, expected files ending in {known}")
    others = (path.suffix.lower() for path in paths if path.is_file())
    left_out = Counter(suffix for suffix in others if suffix not in AUDIO_SUFFIXES)
    return Listing(tell_apart(items), [], left_out=left_out)


def _fixed_parts(parts: Iterable[str]) -> list[str]:
    """The parts of a path in front of its first wildcard."""
    fixed: list[str] = []
    for part in parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return fixed or [""]


def _from_url(url: str) -> Iterator[Utterance]:
    """One URL, or those that its glob matches; the id is its path without scheme and suffix."""
    scheme, _, rest = url.partition("://")
    names = [rest]
    if glob.has_magic(rest):
        try:
            import fsspec

            names = sorted(str(file.path) for file in fsspec.open_files(url, **patience(url)))
        except ImportError as error:  # fsspec itself, or the package of one protocol, which its message names
            raise ManifestError(f"{url}: cannot be listed: {error}; pip install fsspec, and what it names") from error
        except Exception as error:  # every kind of storage raises its own
            raise ManifestError(f"{url}: cannot be listed: {error or type(error).__name__}") from error
        if not names:
            raise ManifestError(f"{url}: matches nothing")
    for name in names:
        path = PurePosixPath(name.partition("?")[0].strip("/"))
        yield Utterance(id=without_suffix(path), audio=f"{scheme}://{name}")
