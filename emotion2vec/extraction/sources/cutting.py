"""Recordings -> their turns: by lists of segments, or one speaker for each channel."""

from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from emotion2vec.audio.decode.memory import from_array, unpack
from emotion2vec.audio.decode.reading import read_header
from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.lists.marks import SUFFIXES, read_marks
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.lists.segments import Segment, read_segments
from emotion2vec.corpora.names import normal, span_name, stem
from emotion2vec.corpora.utterance import Held, Listing, Utterance
from emotion2vec.errors import AudioError, ConfigError, ManifestError

SPELLED = "name of a recording with other spaces"
"""How a recording is found whose name a list of segments spells with `_` for a space, or without any."""


def cut_by(items: Sequence[Utterance], segments: Any) -> Listing:
    """Replace recordings by their segments.

    Args:
        items: the recordings.
        segments: a list of segments (RTTM, Kaldi, TextGrid, ELAN), a folder of those, or an annotation of pyannote, a
            list of them, or a mapping from names of recordings to them.

    Raises:
        ConfigError: it is none of those.
        ManifestError: a list cannot be read.
    """
    by_name: dict[str, list[Utterance]] = defaultdict(list)
    for item in items:
        for name in {normal(item.id), normal(stem(str(item.audio)))}:
            by_name[name].append(item)
    recordings = _Recordings(by_name)
    found: list[tuple[str, Segment]] = []
    faults: list[Fault] = []
    if not isinstance(segments, str | os.PathLike):
        found = list(_of_pyannote(segments, items))
    else:
        for source in _files(Path(segments)):
            read = read_marks if source.suffix.lower() in SUFFIXES else read_segments
            its, broken = read(source, by_name)
            found += [(f"{source}:{segment.line}", segment) for segment in its]
            faults += broken
    cut: list[tuple[str, Utterance]] = []
    keyed: set[str] = set()
    changes: list[Change] = []
    for where, segment in found:
        recording = recordings.find(segment.recording)
        if isinstance(recording, str):
            faults.append(Fault(where, recording))
            continue
        if (name := stem(str(recording.audio))) != segment.recording and recordings.is_respelled(segment.recording):
            changes.append(Change(where, SPELLED, f"{segment.recording} is {name}"))
        cut.append((where, stretch_of(recording, segment)))
        if segment.id is not None:
            keyed.add(where)
        if segment.channel is not None:
            changes.append(Change(where, "channel of the list taken", f"{segment.channel} of {recording.audio}"))
    stretches, repeated = unique_ids(cut, keyed)
    return Listing(stretches, [*faults, *repeated], changes)


class _Recordings:
    """Finds recordings by what a list of segments calls them."""

    def __init__(self, by_name: dict[str, list[Utterance]]):
        self._by_name = by_name
        self._alike: dict[str, set[str]] = defaultdict(set)
        for name in by_name:
            self._alike[_without_spaces(name)].add(name)

    def is_respelled(self, name: str) -> bool:
        """Whether a recording is known by another spelling alone."""
        return normal(name) not in self._by_name

    def find(self, name: str) -> Utterance | str:
        """The recording of a name, or why there is none."""
        found = self._by_name.get(normal(name), [])
        alike = sorted(self._alike.get(_without_spaces(normal(name)), ()))
        if not found and len(alike) == 1:
            found = self._by_name[alike[0]]
        if len(found) == 1:
            return found[0]
        reason = f"expected one recording named {name!r}, found "
        if found:
            return f"{reason}{len(found)}, such as {found[0].audio}"
        near = alike or difflib.get_close_matches(normal(name), self._by_name, n=3, cutoff=0.6)
        return f"{reason}none" + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")


def _without_spaces(name: str) -> str:
    return re.sub(r"[\s_]+", "", name)


def _files(path: Path) -> list[Path]:
    """A list of segments, or all of a folder.

    Raises:
        ManifestError: the folder has none.
    """
    if not path.is_dir():
        return [path]
    known = (".rttm", *SUFFIXES)
    found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in known and entry.name[0] != ".")
    if not found:
        raise ManifestError(f"{path}: no file in it ends in {', '.join(known)}, expected lists of segments")
    return found


def _of_pyannote(segments: Any, items: Sequence[Utterance]) -> Iterable[tuple[str, Segment]]:
    """Segments of pyannote's annotations; one without a name is of the only recording."""
    listed = segments if isinstance(segments, list | tuple) else [segments]
    named = [*segments.items()] if isinstance(segments, dict) else [(getattr(one, "uri", None), one) for one in listed]
    recordings = {str(item.audio) for item in items}
    for name, annotation in named:
        if not hasattr(annotation, "itertracks"):
            raise ConfigError(
                f"segments is a {type(annotation).__name__}, expected a file, vad, annotations of pyannote, a function "
                "or a command with {}"
            )
        if name is None and len(recordings) > 1:
            raise ConfigError(f"segments has no uri, and there are {len(recordings)} recordings: expected its name")
        recording = stem(next(iter(recordings))) if name is None else str(name)
        for turn in turns_of(annotation, recording):
            yield f"segments of {recording}:{turn.line}", turn


def turns_of(annotation: Any, recording: str) -> Iterator[Segment]:
    """Turns of one annotation of pyannote, counted from 1."""
    for number, (span, _, label) in enumerate(annotation.itertracks(yield_label=True), start=1):
        yield Segment(number, recording, float(span.start), float(span.duration), speaker=str(label))


def stretch_of(recording: Utterance, segment: Segment) -> Utterance:
    """The part of a recording that a segment names."""
    return replace(
        recording,
        id=segment.id or recording.id + span_name(segment.start, segment.duration),
        start=segment.start,
        duration=segment.duration,
        channel=recording.channel if segment.channel is None else segment.channel,
        speaker=segment.speaker or recording.speaker,
        row={**recording.row, "text": segment.text} if segment.text else recording.row,
    )


def one_per_channel(items: Sequence[Utterance], workers: int) -> Listing:
    """Replace what has several channels by one for each, spoken by `channel 0`, `channel 1` and so on.

    What the list names a channel of is that one; what has a single channel stays as it is.
    """

    def channels(item: Utterance) -> int | Fault:
        if item.channel is not None:
            return 1
        try:
            return _channels(item)
        except Exception as error:  # whatever one file does to a decoder must not end a job of many
            return Fault(item.where, str(error).removeprefix(f"{item.audio}: "))

    found: list[Utterance] = []
    faults: list[Fault] = []
    changes: list[Change] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="headers") as pool:
        for item, count in zip(items, pool.map(channels, items), strict=True):
            if isinstance(count, Fault):
                faults.append(count)
            elif item.channel is not None:
                found.append(replace(item, speaker=item.speaker or f"channel {item.channel}"))
            elif count == 1:
                found.append(item)
                changes.append(Change(item.where, "a single channel is one speaker", str(item.audio)))
            else:
                found += [_of_channel(item, number) for number in range(count)]
    return Listing(found, faults, changes)


def _of_channel(item: Utterance, number: int) -> Utterance:
    return replace(item, id=f"{item.id}_channel{number}", channel=number, speaker=f"channel {number}")


def _channels(item: Utterance) -> int:
    """Channels of the audio, by its header.

    Raises:
        AudioError: it cannot be read.
    """
    source: Any = item.audio
    if isinstance(source, Held):
        source, _ = unpack(source.give(), None, item.where)
        if not (isinstance(source, bytes | str | os.PathLike) or hasattr(source, "read")):
            return int(from_array(source, item.where).shape[0])
    header = read_header(source, str(item.audio), accept_damaged=item.accept_damaged, thorough=False)
    if header.channels < 1:
        raise AudioError(f"{item.audio}: has no channel")
    return header.channels


def in_time(items: Sequence[Utterance], recording: Callable[[Utterance], Any]) -> list[Utterance]:
    """Turns of each recording in the order of time, recordings in their own."""
    order = {key: place for place, key in enumerate(dict.fromkeys(map(recording, items)))}
    return sorted(items, key=lambda item: (order[recording(item)], item.start or 0.0))
