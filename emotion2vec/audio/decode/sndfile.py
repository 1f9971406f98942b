"""Audio that libsndfile decodes, to its end and with what is wrong with it. S: samples in a block. C: channels."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from emotion2vec.audio.decode.notes import DAMAGED, LENGTH_DIFFERS, Note
from emotion2vec.audio.decode.structure import PADDING_SAMPLES, Structure

UNKNOWN_FRAMES = 2**62
"""libsndfile states about 2^63 frames where a stream's length is unknown."""

SMALL_BLOCK = 1024
"""Samples that are decoded at once in damaged files: what comes before an error in the same block is lost."""

TOLERANCE_S = 0.1
"""Seconds by which lengths of codecs may differ from what is stated."""

Openable = str | int | BinaryIO
"""What libsndfile opens: a path, the number of an open file, or a file object."""


class SndfileStream:
    """One file, or several streams of one file after another; see `AudioStream`.

    Args:
        openable: the file as it is.
        structure: what is known of it.
        careful: decode in small blocks, so that an error loses little.

    Raises:
        soundfile.LibsndfileError: libsndfile does not know it.
    """

    def __init__(self, openable: Openable, structure: Structure, careful: bool):
        import soundfile

        self._error: type[Exception] = soundfile.LibsndfileError
        self._open: Callable[..., Any] = soundfile.SoundFile
        self._structure, self._careful = structure, careful
        self._waiting: list[Any] = list(structure.views)
        plain: Any = None
        if not self._waiting or structure.tolerance:  # where nothing is stated, the decoder's guess may be good
            plain = self._open(openable, closefd=False)
            if structure.samples is None or 0 <= plain.frames - structure.samples <= structure.tolerance:
                self._waiting = []
        self._uses_views = bool(self._waiting)
        if self._waiting:
            if plain is not None:
                plain.close()
            plain = self._open(self._waiting.pop(0))
        self._file = plain
        self.rate: int = plain.samplerate
        self.channels: int = plain.channels
        self.frames = self._length()
        self._count, self._broken = 0, ""

    def _length(self) -> int | None:
        """Samples per channel that there are, as far as is known without decoding."""
        own: int = self._file.frames
        if self._structure.samples is not None:
            return self._structure.samples
        if own >= UNKNOWN_FRAMES or self._waiting:
            return None
        fact = self._structure.fact
        if fact and own - self._slack() <= fact <= own:
            return fact  # what follows only fills the last block
        return own

    def _slack(self) -> int:
        return max(round(TOLERANCE_S * self.rate), PADDING_SAMPLES)

    def read(self, count: int) -> np.ndarray:
        """The next samples (S, C) float32, at most `count`; none at the end."""
        fact = self._structure.fact
        if fact and self.frames == fact:
            count = min(count, fact - self._count)
        block = np.zeros((0, self.channels), np.float32)
        while count > 0 and not self._broken:
            block = self._careful_read(count) if self._careful else self._plain_read(count)
            if len(block) or not self._waiting:
                break
            self._next_stream()
        self._count += len(block)
        return block

    def _plain_read(self, count: int) -> np.ndarray:
        try:
            block: np.ndarray = self._file.read(count, dtype="float32", always_2d=True)
        except self._error as error:
            self._broken = getattr(error, "error_string", "") or "its data cannot be decoded"
            return np.zeros((0, self.channels), np.float32)
        return block

    def _careful_read(self, count: int) -> np.ndarray:
        pieces = [np.zeros((0, self.channels), np.float32)]
        while count > 0 and len(piece := self._plain_read(min(count, SMALL_BLOCK))):
            pieces.append(piece)
            count -= len(piece)
        return np.concatenate(pieces)

    def _next_stream(self) -> None:
        """Go on with the stream that follows, which must be of the same kind."""
        self._file.close()
        self._file = self._open(self._waiting.pop(0))
        if (self._file.samplerate, self._file.channels) != (self.rate, self.channels):
            self._broken = (
                f"a stream of {self.channels} channels at {self.rate} Hz is followed by one of "
                f"{self._file.channels} at {self._file.samplerate} Hz"
            )

    def skip(self, count: int) -> int:
        """Go on `count` samples later; how many of them there were, as far as is known."""
        if (not self._uses_views or self._structure.seekable) and self._file.seekable():
            self._file.seek(count, os.SEEK_CUR)
            self._count += count
            return count
        left = count
        while left > 0 and (skipped := len(self.read(min(left, 1 << 16)))):
            left -= skipped
        return count - left

    def beforehand(self) -> list[Note]:
        """What is to be said before anything is decoded."""
        cut = self._structure.cut
        return [*self._structure.notes, *([Note(DAMAGED, f"the end is missing: {cut}")] if cut else [])]

    def finish(self, whole: bool) -> list[Note]:
        """What is to be said of what was read; `whole` if it was everything."""
        structure, notes = self._structure, list(self._structure.notes)
        if self._broken:
            return [*notes, Note(DAMAGED, f"{self._broken}, after {self._seconds(self._count)}")]
        if not whole:
            return notes
        if structure.cut:
            return self.beforehand()
        stated = max(self.frames or 0, structure.fact or 0, self._logged_frames())
        if structure.stated is not None:
            stated = round(structure.stated * self._count)
        if stated > self._count + (self._slack() if self._is_coded() else 0):
            text = f"it states {self._seconds(stated)}, {self._seconds(self._count)} could be decoded"
            return [*notes, Note(DAMAGED, text)]
        if structure.stated is not None or (structure.fact and structure.fact < self._count):
            stated = structure.fact or stated
            text = f"it states {self._seconds(stated)}, {self._seconds(self._count)} are there, all of it read"
            return [*notes, Note(LENGTH_DIFFERS, text)]
        return notes

    def _is_coded(self) -> bool:
        """Whether lengths are only exact up to a codec's padding."""
        subtype: str = self._file.subtype
        return not subtype.startswith(("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")) or self._file.format == "FLAC"

    def _logged_frames(self) -> int:
        """Samples per channel by what libsndfile notes of rarer containers; 0 if it notes nothing."""
        log = self._file.extra_info
        if self._uses_views or self._count == 0:
            return 0
        frames = [int(found) for found in re.findall(r"^\s*Frames\s+: (\d+)", log, re.MULTILINE)]
        sizes = re.findall(r"^\s*(?:data|BODY|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
        frames += [round(self._count * int(stated) / max(1, int(there))) for stated, there in sizes]
        if "Seems to be a truncated file" in log:
            frames.append(self._count + 1)
        return max(frames, default=0) if self._file.format in LOGGED else 0

    def _seconds(self, samples: int) -> str:
        return f"{samples / self.rate:.2f} s"

    def close(self) -> None:
        """Close the file."""
        self._file.close()


LOGGED = ("VOC", "AVR", "SVX", "MPC2K")
"""Containers whose lengths are taken from libsndfile's notes."""
