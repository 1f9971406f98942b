"""MPEG audio (MP3): its frames counted one by one, since the length that decoders state is an estimate."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from emotion2vec.audio.decode.content import tag_size

READ_BYTES = 1 << 20

# By version (3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5) and layer (3: I, 2: II, 1: III), as the header has them.
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBITS = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[2, 1] = _KBITS[2, 2]


@dataclass(frozen=True)
class MpegFrames:
    """What the frames of a file are.

    Attributes:
        rate: samples per second.
        samples: samples of all frames, by channel; frames that only hold a table of contents are not counted.
        first: place of the first frame that holds sound.
        stated: samples that the table of contents (Xing, Info or VBRI) states, encoder's padding included; or None.
        junk: bytes between frames, and after the last one, that are neither frames nor tags.
        cut: whether the last frame is not whole.
    """

    rate: int
    samples: int
    first: int
    stated: int | None
    junk: int
    cut: bool


def count_frames(file: BinaryIO, size: int, *, thorough: bool = True) -> MpegFrames | None:
    """Go from frame to frame to the end; None where there is not one of them.

    Unless it is `thorough`, a table of contents is believed, and nothing behind it is read.
    """
    walk = _Walk(file, size)
    first = walk.resync(0)
    if first is None:
        return None
    place, start, samples, stated, junk, cut = first, None, 0, None, 0, False
    like = walk.at(first, 4)
    rate = _RATES[like[1] >> 3 & 3][like[2] >> 2 & 3]
    while place < size:
        head = walk.at(place, 4)
        frame = _frame(head) if _alike(head, like) else None
        if frame is None:
            after = place + _tag_bytes(walk.at(place, 32), size - place)
            resumed = walk.resync(after, like)
            if resumed is None:
                break  # what follows the last frame is no sound
            junk += resumed - after
            place = resumed
            continue
        length, count, _ = frame
        table = _stated_frames(walk.at(place, min(length, 256)))
        if table is None:
            start = place if start is None else start
            samples += count
        elif start is None:
            stated = table * count
            if stated and not thorough:
                return MpegFrames(rate, stated, place + length, stated, junk=0, cut=False)
        cut = place + length > size
        place += length
    return None if start is None else MpegFrames(rate, samples, start, stated, junk, cut)


class _Walk:
    """A file read in large pieces, of which small ones are looked at in order."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self.size = file, size
        self._data, self._base = b"", 0

    def at(self, place: int, count: int) -> bytes:
        """Bytes from a place on."""
        if not self._base <= place <= place + count <= self._base + len(self._data):
            self._file.seek(place)
            self._data, self._base = self._file.read(READ_BYTES), place
        return self._data[place - self._base : place - self._base + count]

    def resync(self, place: int, like: bytes | None = None) -> int | None:
        """The next place where one frame follows another, both of the kind of the first; None where there is none."""
        if place == 0 and self.at(0, 3) == b"ID3":
            place = tag_size(self.at(0, 10))
        while place < self.size:
            piece = self.at(place, min(65_536, self.size - place))
            found = piece.find(b"\xff")
            while found >= 0:
                here = place + found
                head = piece[found : found + 4]
                frame = _frame(head) if len(head) == 4 else _frame(self.at(here, 4))
                if frame is not None and (like is None or _alike(self.at(here, 4), like)):
                    following = here + frame[0]
                    if following >= self.size or _alike(self.at(following, 4), self.at(here, 2)):
                        return here
                    piece = self.at(place, min(65_536, self.size - place))
                found = piece.find(b"\xff", found + 1)
            place += len(piece)
        return None


def _alike(head: bytes, like: bytes) -> bool:
    """Whether two headers are of one version and layer."""
    return len(head) == 4 and head[0] == 0xFF and head[1] & 0xFE == like[1] & 0xFE


def _frame(head: bytes) -> tuple[int, int, int] | None:
    """Bytes of a frame, its samples and their rate, by its header of four bytes."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or bits in (0, 15) or rate_index == 3:
        return None
    rate = _RATES[version][rate_index]
    kbits = _KBITS[3 if version == 3 else 2, layer][bits]
    if layer == 3:
        return (12_000 * kbits // rate + padding) * 4, 384, rate
    samples = 576 if layer == 1 and version != 3 else 1152
    return samples // 8 * 1000 * kbits // rate + padding, samples, rate


def _stated_frames(frame: bytes) -> int | None:
    """Frames that a table of contents states; None where a frame holds sound. The table is in place of the sound."""
    version, mono = frame[1] >> 3 & 3, frame[3] >> 6 == 3
    place = 4 + ({True: 17, False: 32} if version == 3 else {True: 9, False: 17})[mono]
    if frame[1] & 1 == 0:
        place += 2  # a checksum
    for start in (place, place - 2):
        if frame[start : start + 4] in (b"Xing", b"Info"):
            flags = frame[start + 7] if len(frame) > start + 7 else 0
            return struct.unpack_from(">I", frame, start + 8)[0] if flags & 1 and len(frame) >= start + 12 else 0
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return int(struct.unpack_from(">I", frame, 50)[0])
    return None


def _tag_bytes(head: bytes, left: int) -> int:
    """Bytes of a tag that stands between frames; 0 where there is none."""
    if head[:3] == b"ID3" and len(head) >= 10:
        return tag_size(head)
    if head[:3] == b"TAG":
        return min(128, left)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        (length, flags) = struct.unpack_from("<I4xI", head, 12)
        return 32 + (length if flags & 1 << 29 else 0)
    return left if head[:11] == b"LYRICSBEGIN" else 0
