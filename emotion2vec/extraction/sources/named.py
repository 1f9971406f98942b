"""What a user names -> a list of stretches of audio: files, folders, globs, manifests, lists on stdin, URLs, segments.

Nothing is opened here but the lists themselves.
"""

from __future__ import annotations

import codecs
import glob
import os
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from emotion2vec.audio.decode import AUDIO_SUFFIXES, is_audio_file
from emotion2vec.audio.decode.remote import patience
from emotion2vec.corpora.faults import Change, Fault, reason_of
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.lines import narrow, split_lines
from emotion2vec.corpora.lists.locate import Located, Locator
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.naming import tell_apart, unique_ids
from emotion2vec.corpora.lists.segments import Segment, read_segments
from emotion2vec.corpora.lists.speech import cut_at_silence
from emotion2vec.corpora.names import normal, path_id, span_name, stem, without_suffix
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.processors import default_workers

VAD = "vad"
"""The name that `segments` has for stretches with speech, in place of a file's."""


AnySources = str | Path | Listing | Sequence[str | Path]


def read_sources(
    sources: AnySources,
    *,
    root: Path | None = None,
    channel: int | None = None,
    segments: str | Path | None = None,
    shard: str | None = None,
    workers: int | None = None,
    accept_damaged: bool = False,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Listing:
    """List the audio that one source or several name.

    Args:
        sources: audio files, folders, globs (`/speech/**/*.wav`), manifests of every kind that `read_manifest` takes,
            URLs (`s3://bucket/a.wav`, also with a glob), or `-` for a list of paths and URLs on stdin, one a line (or
            separated by NUL, for names with newlines); or a manifest that was read already.
        root: folder that relative paths in manifests and on stdin start from.
        channel: take this channel of every file, counted from 0, unless a manifest names another.
        segments: RTTM or Kaldi `segments` file: extract these stretches in place of whole recordings; or `vad` for the
            stretches with speech, which decodes all audio once.
        shard: `i/n` for every n-th item from the i-th on; with `vad`, every n-th recording.
        workers: threads that `vad` decodes with; None for one per processor, at most 8.
        accept_damaged: take what there is of damaged files.
        columns: what tables call their columns, `ours=theirs`.
        labels: what tables call labels, `ours=theirs`.

    Raises:
        ManifestError: a source cannot be read, or there is nothing to extract.
        ConfigError: the channel is negative, no source is given, or `vad` needs a package that is missing.
    """
    if channel is not None and channel < 0:
        raise ConfigError(f"channel is {channel}, expected 0 or more")
    named: Sequence[str | Path | Listing] = (
        [sources] if isinstance(sources, str | os.PathLike | Listing) else list(sources)
    )
    if not named:
        raise ConfigError("no source is given, expected audio files, folders, manifests, URLs or -")
    names = Names.of(columns, labels, keep=True)
    found = [_read_source(source, root, names) for source in named]
    items = [item for part in found for item in part.utterances]
    faults = [fault for part in found for fault in part.faults]
    changes = [change for part in found for change in part.changes]
    left_out = sum((part.left_out for part in found), Counter[str]())
    if segments is not None and str(segments) != VAD:
        cut = _cut(items, Path(segments))
        items, faults, changes = cut.utterances, faults + cut.faults, changes + cut.changes
    if not items:
        raise ManifestError(f"nothing to extract; {'; '.join(map(str, faults[:3]))}")
    if channel is not None:
        items = [replace(item, channel=channel) if item.channel is None else item for item in items]
    items = take_shard(items, shard)
    if accept_damaged:
        items = [replace(item, accept_damaged=True) for item in items]
    if str(segments) == VAD:
        items, silent = cut_at_silence(items, workers or default_workers())
        faults += silent
    return Listing(items, faults, changes, left_out)


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
        return _from_list(sys.stdin.buffer.read(), root)
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


def _cut(items: list[Utterance], source: Path) -> Listing:
    """Replace recordings by the segments of a list, which names them by their ids, or by their files' stems."""
    by_name: dict[str, list[Utterance]] = defaultdict(list)
    for item in items:
        for name in {normal(item.id), normal(stem(str(item.audio)))}:
            by_name[name].append(item)
    segments, faults = read_segments(source, by_name)
    cut: list[tuple[str, Utterance]] = []
    keyed: set[str] = set()
    changes: list[Change] = []
    for segment in segments:
        recordings = by_name.get(normal(segment.recording), [])
        where = f"{source}:{segment.line}"
        if len(recordings) != 1:
            found = "none" if not recordings else f"{len(recordings)}, such as {recordings[0].audio}"
            faults.append(Fault(where, f"expected one recording named {segment.recording!r}, found {found}"))
            continue
        cut.append((where, _stretch(recordings[0], segment)))
        if segment.id is not None:
            keyed.add(where)
        if segment.channel is not None:
            changes.append(Change(where, "channel of the list taken", f"{segment.channel} of {recordings[0].audio}"))
    stretches, repeated = unique_ids(cut, keyed)
    return Listing(stretches, [*faults, *repeated], changes)


def _stretch(recording: Utterance, segment: Segment) -> Utterance:
    """The part of a recording that a segment names."""
    return replace(
        recording,
        id=segment.id or recording.id + span_name(segment.start, segment.duration),
        start=segment.start,
        duration=segment.duration,
        channel=recording.channel if segment.channel is None else segment.channel,
        speaker=segment.speaker or recording.speaker,
    )
