"""What a file's own bytes say of its sound before it is decoded: lengths that are stated, gaps, and cut ends."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import BinaryIO

from emotion2vec.audio.decode import content, flac, mpeg, ogg
from emotion2vec.audio.decode.chunks import SLACK_BYTES, SampleData, find_samples
from emotion2vec.audio.decode.content import Kind
from emotion2vec.audio.decode.notes import DAMAGED, LENGTH_DIFFERS, UNFINISHED, Note
from emotion2vec.audio.decode.views import View

PADDING_SAMPLES = 4608
"""Samples by which a codec's padding may change a length: four frames of MP3, more than AAC or Opus have."""

CLAIMED_TIMES = 64
"""How much longer an MP3 is told to be, so that no estimate of its length falls short: its frames' sizes may differ
by 40 times."""


@dataclass
class Structure:
    """What is known of a file before it is decoded.

    Attributes:
        views: what to decode in place of the file: one view, or several one after another; empty for the file itself.
        samples: samples per channel, where they were counted and the decoder's own number may be wrong.
        tolerance: the views are not needed where the decoder's own number is off by no more than this.
        seekable: whether the decoder may jump in the views.
        stated: length that the file states, as a multiple of what there is; None if it states none.
        fact: samples per channel that a compressed WAV states.
        cut: what is missing at the end, as a sentence; nothing before it is affected.
        notes: what else is to be said; a gap is `DAMAGED`.
    """

    views: list[View] = field(default_factory=list)
    samples: int | None = None
    tolerance: int = 0
    seekable: bool = True
    stated: float | None = None
    fact: int | None = None
    cut: str | None = None
    notes: list[Note] = field(default_factory=list)


def examine(file: BinaryIO, kind: Kind | None, *, thorough: bool = True) -> Structure:
    """Look at the bytes of a seekable file that libsndfile decodes.

    Args:
        file: whose position is moved.
        kind: what it is.
        thorough: look at all of it; else only at what is quick to see, and gaps go unnoticed.
    """
    size = file.seek(0, os.SEEK_END)
    if kind is content.MPEG_AUDIO:
        return _mpeg(file, size, thorough)
    if kind is content.OGG:
        return _ogg(file, size) if thorough else Structure()
    if kind is content.FLAC:
        return _flac(file, size)
    data = find_samples(file, size)
    return Structure() if data is None else _chunked(file, data)


def _chunked(file: BinaryIO, data: SampleData) -> Structure:
    found = Structure(fact=data.fact)
    if data.stated is not None and 0 <= data.stated - data.available <= SLACK_BYTES:
        return found
    if data.size_at:
        found.views = [View(file, replaced=data.with_size(data.available))]
    if data.stated is None:
        return found
    found.stated = data.stated / max(1, data.available)
    if data.stated > data.available:
        found.cut = f"its header states {data.stated} bytes of samples, {data.available} are there"
    return found


def _mpeg(file: BinaryIO, size: int, thorough: bool) -> Structure:
    frames = mpeg.count_frames(file, size, thorough=thorough)
    if frames is None:
        return Structure()
    found = Structure(samples=frames.samples)
    view = View(file, frames.first, claimed=CLAIMED_TIMES * size)
    stated, there = frames.stated or 0, frames.samples
    found.views, found.seekable, found.tolerance = [view], False, PADDING_SAMPLES
    if frames.junk:
        found.notes.append(Note(DAMAGED, f"{frames.junk} bytes between its frames are no sound"))
    if not stated:
        if frames.cut:
            found.notes.append(Note(UNFINISHED, "it ends within a frame, so that it may have been cut off"))
    elif stated > there + PADDING_SAMPLES:
        found.cut = f"it states {stated / frames.rate:.2f} s, its frames hold {there / frames.rate:.2f} s"
        found.views = []  # the decoder ends where they do, and knows the padding at the start
    elif there > stated + PADDING_SAMPLES:
        text = f"it states {stated / frames.rate:.2f} s, its frames hold {there / frames.rate:.2f} s, all of it read"
        found.notes.append(Note(LENGTH_DIFFERS, text))
        found.tolerance = 0
    else:  # the decoder knows the true length, and the padding
        return Structure(notes=found.notes)
    return found


def _ogg(file: BinaryIO, size: int) -> Structure:
    streams, found = ogg.read_pages(file, size), Structure()
    if len(streams.starts) > 1:
        stops = [*streams.starts[1:], size]
        found.views = [View(file, start, stop) for start, stop in zip(streams.starts, stops, strict=True)]
        found.seekable = False
    if streams.missing or streams.junk:
        found.notes.append(Note(DAMAGED, f"{streams.missing} of its pages are missing, {streams.junk} bytes are none"))
    if streams.cut:
        found.cut = "it ends within a page"
    elif streams.starts and not streams.finished:
        found.notes.append(Note(UNFINISHED, "its last page is not marked as the last: it may have been cut off"))
    return found


def _flac(file: BinaryIO, size: int) -> Structure:
    totals = flac.read_totals(file, size)
    if totals is None:
        return Structure()
    stated, there, place = totals
    if stated == there:
        return Structure()
    file.seek(place)
    view = View(file, replaced={place: flac.total_bytes(file.read(1)[0], there)})
    found = Structure([view], samples=there, stated=stated / there if stated else None)
    if stated > there:
        found.cut = f"its header states {stated} samples, its last frame ends at {there}"
    return found
