"""Opened audio, or samples in memory -> one channel of the stretch that is asked for, and what is to be said of it.

S: samples. C: channels.
"""

from __future__ import annotations

import io
import logging
import numbers
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike, fspath
from typing import Any

import numpy as np

from emotion2vec.audio.decode.channels import ChannelMeter, mixed, no_channel
from emotion2vec.audio.decode.notes import DAMAGED, LOUDER_CHANNEL, Note
from emotion2vec.audio.decode.opening import AudioStream, Encoded, open_audio
from emotion2vec.errors import AudioError

MIN_RATE, MAX_RATE = 1_000, 1_000_000
"""Sample rates that are accepted, in Hz; anything else is a broken header or a mistake."""

DURATION_TOLERANCE = 0.1
"""Seconds by which stated times may run past the end of the audio before it counts as a fault."""

BLOCK_VALUES = 1 << 20
"""Samples times channels that are decoded at once."""

HELD_SAMPLES = 1 << 22
"""Samples of the mean that are held until it is known whether the channels cancel each other; longer audio of several
channels is decoded twice."""

MOST_TOLD = 10_000
"""Notes that are remembered so as to be logged once."""

MOST_CHOICES = 100_000
"""Choices of a channel that are remembered."""

_choices: dict[Any, int | None] = {}
_logger = logging.getLogger("emotion2vec.audio.samples")
_told: set[tuple[str, str]] = set()


@dataclass
class Reading:
    """One reading of one source.

    Attributes:
        name: of the source, for messages.
        channel: to take, counted from 0; None for the mean of all, or the louder one where they cancel each other.
        start: of the stretch, in s; None for the start.
        duration: of the stretch, in s; None for all until the end.
        accept_damaged: take what there is of a damaged file.
        notes: gets what is to be said.
    """

    name: str
    channel: int | None = None
    start: float | None = None
    duration: float | None = None
    accept_damaged: bool = False
    notes: list[Note] = field(default_factory=list)

    def encoded(self, source: Encoded) -> tuple[float, Iterator[np.ndarray]]:
        """The rate, and blocks (S,) that are decoded as they are taken.

        Raises:
            AudioError: it cannot be opened; later, that it is damaged or the stretch is not inside it.
        """
        if hasattr(source, "read") and not source.seekable():  # type: ignore[union-attr]
            source = io.BytesIO(source.read())  # type: ignore[union-attr]
        blocks = self._decoded(source)
        rate = next(blocks)
        return rate, self._mono(blocks, rate, source)  # type: ignore[arg-type]

    def array(self, samples: np.ndarray, rate: Any) -> Iterator[np.ndarray]:
        """The stretch of samples (C, S), as one block (S,).

        Raises:
            AudioError: the rate or the channel is wrong, or the stretch is not inside it.
        """
        self._check_format(rate, samples.shape[0])
        first = round((self.start or 0.0) * rate)
        last = samples.shape[1] if self.duration is None else first + round(self.duration * rate)
        self._check_stretch(first, last, samples.shape[1], rate)
        block = samples[:, first:last].T  # (S, C)
        return iter([mixed(block, self._chosen(block, rate))])

    def _decoded(self, source: Encoded) -> Generator[Any, None, None]:
        """The rate, then the blocks (S, C) of the stretch."""
        with open_audio(source, self.name, accept_damaged=self.accept_damaged) as stream:
            self._check_format(stream.rate, stream.channels)
            yield stream.rate
            yield from self._stretch(stream)
            self.take(stream.finish(self.duration is None))

    def take(self, notes: list[Note]) -> None:
        """Keep what is to be said.

        Raises:
            AudioError: the audio is damaged, and that is not accepted.
        """
        for note in notes:
            if note.kind == DAMAGED and not self.accept_damaged:
                raise AudioError(
                    f"{self.name}: damaged: {note.text}; --accept-damaged (accept_damaged=True) takes what there is"
                )
            if note not in self.notes:
                self.notes.append(note)

    def _stretch(self, stream: AudioStream) -> Iterator[np.ndarray]:
        first = round((self.start or 0.0) * stream.rate)
        wanted = None if self.duration is None else round(self.duration * stream.rate)
        is_stretch = self.start is not None or self.duration is not None
        if is_stretch and stream.frames is not None:
            last = stream.frames if wanted is None else first + wanted
            self._check_stretch(first, last, stream.frames, stream.rate)
        skipped = stream.skip(first) if first else 0
        block_frames, count = max(1, BLOCK_VALUES // stream.channels), 0
        while wanted is None or count < wanted:
            block = stream.read(block_frames if wanted is None else min(block_frames, wanted - count))  # (S, C)
            if not len(block):
                break
            count += len(block)
            yield block
        if count == 0 and not is_stretch:
            self.take(stream.finish(True))
            raise AudioError(f"{self.name}: holds no samples, expected sound")
        nothing = count == 0 and wanted != 0
        if nothing or (wanted is not None and count < wanted - DURATION_TOLERANCE * stream.rate):
            self.take(stream.finish(True))  # that it is damaged says more
            self._check_stretch(first, first + (wanted or 0), skipped + count, stream.rate)

    def _mono(self, blocks: Iterator[np.ndarray], rate: float, source: Encoded) -> Iterator[np.ndarray]:
        """One channel of decoded blocks (S, C).

        If there are several channels, all blocks are heard before the first is given. Memory is bounded, so longer
        audio is decoded again.
        """
        head = next(blocks, None)
        if head is None:
            return
        if self.channel is not None or head.shape[1] == 1:
            yield mixed(head, self.channel or 0)
            for block in blocks:
                yield mixed(block, self.channel or 0)
            return
        key = self._key(source)
        if key in _choices:
            self._note(_choices[key])
            yield from (mixed(block, _choices[key]) for block in chain([head], blocks))
            return
        meter, means = ChannelMeter(rate), list[np.ndarray]()
        size, count = 0, 0
        for block in chain([head], blocks):
            means.append(meter.add(block))
            size, count = size + len(block), count + 1
            if size > HELD_SAMPLES:
                means.clear()
        chosen = meter.louder()
        self._note(chosen)
        if chosen is None and len(means) == count:
            yield from means
            return
        if key is not None and len(_choices) < MOST_CHOICES:
            _choices[key] = chosen  # for whoever reads it once more, as long audio is
        with closing(self._decoded(source)) as again:
            next(again)
            for block in again:
                yield mixed(block, chosen)

    def _chosen(self, block: np.ndarray, rate: float) -> int | None:
        """The channel to take of a block (S, C) that is everything; None for the mean."""
        if self.channel is not None or block.shape[1] == 1:
            return self.channel or 0
        meter = ChannelMeter(rate)
        meter.add(block)
        chosen = meter.louder()
        self._note(chosen)
        return chosen

    def _key(self, source: Encoded) -> tuple[Any, ...] | None:
        """What tells a stretch of a file that has not changed; None for other sources."""
        if not isinstance(source, str | PathLike):
            return None
        try:
            status = os.stat(source)
        except OSError:  # a URL, or gone
            return None
        return fspath(source), status.st_size, status.st_mtime_ns, self.start, self.duration

    def _note(self, chosen: int | None) -> None:
        """Note that a channel was chosen."""
        if chosen is not None:
            text = (
                f"its channels cancel each other, so channel {chosen}, the louder one, is taken in place of their mean"
            )
            self.notes.append(Note(LOUDER_CHANNEL, text))

    def _check_format(self, rate: Any, channels: int) -> None:
        if not isinstance(rate, numbers.Real) or not MIN_RATE <= float(rate) <= MAX_RATE:
            raise AudioError(f"{self.name}: sample rate is {rate!r}, expected {MIN_RATE} to {MAX_RATE} Hz")
        if self.channel is not None and not 0 <= self.channel < channels:
            raise AudioError(f"{self.name}: {no_channel(self.channel, channels)}")

    def _check_stretch(self, first: int, last: int, frames: int, rate: float) -> None:
        """Check that the samples from `first` to before `last` exist, but for a little at the end."""
        if (first > 0 and first >= frames) or last > frames + DURATION_TOLERANCE * rate:
            verb, at = ("ends", last) if last > first else ("starts", first)
            raise AudioError(
                f"{self.name}: the segment {verb} at {at / rate:g} s, but the audio has {frames / rate:g} s"
            )


@dataclass(frozen=True)
class Header:
    """What there is in an audio file: its rate in Hz, its length in its own samples, its channels."""

    rate: int
    samples: int
    channels: int


def read_header(source: Encoded, name: str, *, accept_damaged: bool = False, thorough: bool = True) -> Header:
    """Open audio and find its length, without decoding it where its container tells.

    Args:
        source: what to open.
        name: for messages.
        accept_damaged: count what can be decoded of a damaged file.
        thorough: look for gaps too, where that means to read all of a file.

    Raises:
        AudioError: it cannot be opened, holds no samples, or is damaged as far as that shows without decoding.
    """
    with open_audio(source, name, accept_damaged=accept_damaged, thorough=thorough) as stream:
        reading = Reading(name, accept_damaged=accept_damaged)
        reading.take(stream.beforehand())
        samples = stream.frames
        if samples is None or reading.notes:
            samples, count = 0, max(1, BLOCK_VALUES // stream.channels)
            while size := len(stream.read(count)):
                samples += size
            reading.take(stream.finish(True))
        if samples == 0:
            raise AudioError(f"{name}: holds no samples, expected sound")
        return Header(stream.rate, samples, stream.channels)


def tell(name: str, notes: list[Note]) -> None:
    """Log what is to be said of a file, once for all its stretches."""
    for note in notes:
        if (name, note.kind) not in _told:
            if len(_told) < MOST_TOLD:
                _told.add((name, note.kind))
            _logger.warning("%s: %s", name, note.text)
