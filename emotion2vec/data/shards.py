"""A prepared corpus: Lhotse Shar with an index, so that any utterance is one read of known bytes away.

    shards.json                     how many utterances each shard holds; written last, so a folder with it is complete
    index.bin                       16 bytes per utterance: where it lies in its shard, and its length
    shar/cuts.000000.jsonl.gz       Lhotse cuts
    shar/recording.000000.tar       their audio: `<id>.<suffix>` and Lhotse's `<id>.json`, in the order of the cuts

Where audio was not copied (`audio: files`), a shard is one `shar/cuts.000000.jsonl` that names the files, and the index
says where each line lies. S: samples.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.faults import shortened
from emotion2vec.data.cuts import load_cut
from emotion2vec.data.sources import Loaded, Span
from emotion2vec.data.storage import Range, Unreachable, is_remote, join, read_file, read_ranges, storage_lost
from emotion2vec.documents import parse_json
from emotion2vec.errors import AudioError, ManifestError

FORMAT, FORMAT_VERSION = "emotion2vec-shards", 1
SUMMARY_FILE, INDEX_FILE, SHAR_FOLDER = "shards.json", "index.bin", "shar"
AUDIO_KINDS = ("tar", "files")

INDEX = np.dtype([("offset", "<i8"), ("size", "<i4"), ("length", "<i4")])
"""Bytes of an utterance in its shard, from `offset` on, and its samples at 16 kHz."""

MOST_COUNTED = 10**12
"""Utterances of a shard, and seconds of all audio."""

ENTRY = np.dtype([("shard", "<i4"), *((name, INDEX[name]) for name in INDEX.names or ())])
"""What a worker needs to read an utterance."""


def shard_name(number: int, audio: str) -> str:
    """Path of a shard's audio (or of the lines that name it) below the prepared folder."""
    name = f"recording.{number:06d}.tar" if audio == "tar" else f"cuts.{number:06d}.jsonl"
    return f"{SHAR_FOLDER}/{name}"


def is_prepared(source: str) -> bool:
    """Whether a source of audio is a prepared folder; every URL is expected to be one."""
    return is_remote(source) or Path(source, SUMMARY_FILE).is_file()


class ShardSource:
    """A prepared folder, on this machine or in object storage."""

    def __init__(self, url: str, weight: float = 1.0) -> None:
        """Read how many utterances there are; nothing grows with their number.

        Raises:
            ManifestError: it is no prepared folder, is incomplete, or is empty.
            Unreachable: it cannot be read at the moment.
        """
        summary = _read_summary(url)
        self.url = url
        self.weight = weight
        self.audio: str = summary["audio"]
        self.seconds: float = summary["seconds"]
        self.counts = np.array(summary["counts"], dtype=np.int64)
        _check_index(url, int(self.counts.sum()))
        self.ends = np.cumsum(self.counts)

    def entries(self, spans: Sequence[Span]) -> np.ndarray:
        """As `Source.entries`."""
        index, width = join(self.url, INDEX_FILE), INDEX.itemsize
        rows = read_ranges([Range(index, first * width, stop * width) for first, stop in spans])
        found = np.frombuffer(b"".join(rows), dtype=INDEX)
        if len(found) and min(int(found[name].min()) for name in INDEX.names or ()) < 0:
            raise ManifestError(f"{index}: places or lengths below 0, expected those of `emotion2vec prepare`")
        entries = np.zeros(len(found), dtype=ENTRY)
        for name in INDEX.names or ():
            entries[name] = found[name]
        entries["shard"] = np.searchsorted(
            self.ends, np.concatenate([np.arange(*span) for span in spans]), side="right"
        )
        return entries

    def load(self, entries: np.ndarray) -> list[Loaded]:
        """As `Source.load`."""
        ranges = [
            Range(join(self.url, shard_name(shard, self.audio)), offset, offset + size)
            for shard, offset, size, _ in entries.tolist()
        ]
        load = _from_member if self.audio == "tar" else _from_line
        return [load(data, item) for data, item in zip(read_ranges(ranges), ranges, strict=True)]


def _read_summary(url: str) -> dict[str, Any]:
    path = join(url, SUMMARY_FILE)
    try:
        summary = parse_json(read_file(path))
    except FileNotFoundError as error:
        raise ManifestError(
            f"{url}: holds no {SUMMARY_FILE}, expected a folder that `emotion2vec prepare` has completed"
        ) from error
    except ValueError as error:
        raise ManifestError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise ManifestError(f"{path}: expected what `emotion2vec prepare` writes, with format {FORMAT!r}")
    if summary.get("format_version") != FORMAT_VERSION or summary.get("audio") not in AUDIO_KINDS:
        raise ManifestError(
            f"{path}: version {summary.get('format_version')} with audio {summary.get('audio')!r}, expected version "
            f"{FORMAT_VERSION} with one of {AUDIO_KINDS}; prepare it again with this release"
        )
    counts, seconds = summary.get("counts"), summary.get("seconds")
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count <= MOST_COUNTED for count in counts):
        raise ManifestError(f"{path}: counts is {_short(counts)}, expected the utterances of each shard")
    if not isinstance(seconds, int | float) or not 0 <= seconds < MOST_COUNTED:
        raise ManifestError(f"{path}: seconds is {_short(seconds)}, expected the length of all audio")
    if not sum(counts):
        raise ManifestError(f"{url}: holds no utterance, expected at least one")
    return summary


def _short(value: Any) -> str:
    return shortened(repr(value), 100)


def _check_index(url: str, utterances: int) -> None:
    """Compare the size of the index of a folder on this machine with the utterances that it should place.

    Raises:
        ManifestError: they differ.
    """
    path = join(url, INDEX_FILE)
    if is_remote(url) or not Path(path).is_file():  # which is said when it is read
        return
    size = Path(path).stat().st_size
    if size != utterances * INDEX.itemsize:
        raise ManifestError(
            f"{path}: {size:,} bytes, expected {utterances * INDEX.itemsize:,} for the {utterances:,} utterances that "
            f"{SUMMARY_FILE} counts"
        )


def _from_member(data: bytes, where: Range) -> Loaded:
    """Decode one member of a tar, its header included: a plain file, which is no larger than its bytes.

    Links lead elsewhere, and sparse files may expand a few bytes to any number.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            member = archive.next()
            if member is None or not member.isreg() or member.issparse():
                raise tarfile.TarError("no plain file there")
            if not 0 <= member.offset_data <= member.offset_data + member.size <= len(data):
                raise tarfile.TarError(f"a file of {member.size:,} bytes in {len(data):,}")
            encoded = data[member.offset_data : member.offset_data + member.size]
    except Exception as error:  # tarfile checks little of what headers say
        name = f"{where.path}@{where.start}"
        return name, AudioError(f"{name}: the shard does not fit its index: {error}")
    key = member.name.rpartition(".")[0]
    try:
        return key, load_audio(encoded)
    except AudioError as error:
        return key, AudioError(f"{where.path}: {key}: {error}")


def _from_line(data: bytes, where: Range) -> Loaded:
    """Decode the file that one line names."""
    from lhotse.serialization import deserialize_item

    try:
        cut = deserialize_item(json.loads(data))
        source = cut.recording.sources[0]
        if source.type != "file":
            raise ValueError(f"a source of type {source.type!r}, expected a file")
        path = Path(source.source)
    except Exception as error:  # Lhotse checks nothing of what it is given
        name = f"{where.path}@{where.start}"
        return name, AudioError(f"{name}: the shard does not fit its index: {type(error).__name__}: {error}")
    try:
        return cut.id, load_cut(cut)
    except AudioError as error:
        if storage_lost(path, error.__cause__):
            raise Unreachable(str(error)) from error
        return cut.id, error
