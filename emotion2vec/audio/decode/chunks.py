"""Containers that state the bytes of their samples: where they do, what they state, and what there is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

PCM_FORMATS = frozenset({0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE})
"""WAV's formats of one code per sample, in which the bytes are the length; in others it is the chunk `fact`."""

MOST_CHUNKS = 10_000
"""Chunks of a file that are looked at."""

PLACEHOLDER_SPAN = 4096
"""Writers to pipes state the largest size that they know, less their headers: so far below it still is none."""

SLACK_BYTES = 64
"""Bytes by which a stated size may be too large without being damage: some writers count headers in it."""

LEAST_MORE = 4096
"""Bytes behind the stated samples from which on they may be more of them, and no tag that nobody knows."""

W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
"""What follows the four letters of every W64 chunk but the first."""


@dataclass(frozen=True)
class SampleData:
    """The samples of a file.

    Attributes:
        start: place of their first byte.
        stated: bytes that the header states; None where it leaves them open, as writers to pipes do.
        available: bytes from `start` to the end of the file, or to the next chunk.
        size_at: place of the stated size.
        size_format: how it is packed, see `struct`.
        size_extra: what the stated size counts beside the samples.
        fact: samples per channel that the chunk `fact` of a compressed WAV states.
    """

    start: int
    stated: int | None
    available: int
    size_at: int
    size_format: str
    size_extra: int = 0
    fact: int | None = None

    def with_size(self, size: int) -> dict[int, bytes]:
        """Bytes to replace so that the header states another size."""
        most = 2 ** (8 * struct.calcsize(self.size_format)) - 1  # which says that it is more, or not known
        return {self.size_at: struct.pack(self.size_format, min(size + self.size_extra, most))}


def find_samples(file: BinaryIO, size: int) -> SampleData | None:
    """Find the samples of a WAV, RF64, AIFF, W64, AU, CAF or SPHERE file; None where it is none, or broken."""
    file.seek(0)
    head = file.read(64)
    try:
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM"):
            return _riff(file, size, head)
        if head[:4] == b"riff":
            return _w64(file, size)
        if head[:4] in (b".snd", b"dns."):
            return _au(size, head)
        if head[:4] == b"caff":
            return _caf(file, size)
        if head[:7] == b"NIST_1A":
            return _sphere(file, size)
    except struct.error:  # it ends within a header
        return None
    return None


def _riff(file: BinaryIO, size: int, head: bytes) -> SampleData | None:
    order = ">" if head[:4] in (b"RIFX", b"FORM") else "<"
    wanted, extra = (b"SSND", 8) if head[:4] == b"FORM" else (b"data", 0)
    place, large, large_at, fact, format_tag = 12, None, 0, None, 0x0001
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        header = file.read(8)
        if len(header) < 8:
            return None
        (length,) = struct.unpack(f"{order}I", header[4:])
        if header[:4] == wanted:
            break
        if header[:4] == b"ds64":
            (large,), large_at = struct.unpack("<8xQ", file.read(16)), place + 16
        elif header[:4] == b"fact":
            (fact,) = struct.unpack(f"{order}I", file.read(4))
        elif header[:4] == b"fmt ":
            (format_tag,) = struct.unpack(f"{order}H", file.read(2))
        place += 8 + length + length % 2
    else:
        return None
    start = place + 8 + extra
    fact = None if format_tag in PCM_FORMATS or head[:4] == b"FORM" else fact
    if large is not None and length == 0xFFFFFFFF:
        stated = None if large in (0, 2**64 - 1) else large
        return SampleData(start, stated, _until(file, start, stated, size), large_at, "<Q", fact=fact)
    stated = None if _is_placeholder(length) else max(0, length - extra)
    if length == 0 and _until(file, start, 0, size) == 0:
        stated = 0  # it is empty, and other chunks follow
    available = _until(file, start, stated, size)
    return SampleData(start, stated, available, place + 4, f"{order}I", extra, fact)


def _is_placeholder(length: int) -> bool:
    """Whether a 32-bit size only stands for one that was not known."""
    return length == 0 or any(limit - PLACEHOLDER_SPAN <= length <= limit for limit in (2**31, 2**32 - 1))


def _until(file: BinaryIO, start: int, stated: int | None, size: int) -> int:
    """Bytes of samples that there are: all that were stated, or more where neither chunks nor tags follow them."""
    if stated is None or start + stated >= size:
        return size - start
    file.seek(start + stated)
    rest = file.read(LEAST_MORE)
    # An odd number of bytes is followed by another one, which not every writer knows.
    is_chunk = any(len(name) == 4 and all(32 <= byte < 127 for byte in name) for name in (rest[:4], rest[1:5]))
    if is_chunk or not rest.strip(b"\0") or len(rest) < LEAST_MORE or rest.startswith((b"TAG", b"ID3")):
        return stated
    return size - start


def _w64(file: BinaryIO, size: int) -> SampleData | None:
    place = 40  # behind the GUIDs `riff`, with its size, and `wave`
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        header = file.read(24)
        if len(header) < 24 or header[4:16] != W64_TAIL:
            return None
        (length,) = struct.unpack("<Q", header[16:])
        if header[:4] == b"data":
            stated = None if length <= 24 or length >= 2**63 - 1 else length - 24
            return SampleData(place + 24, stated, size - place - 24, place + 16, "<Q", 24)
        place += max(24, length + -length % 8)
    return None


def _au(size: int, head: bytes) -> SampleData:
    order = ">" if head[:4] == b".snd" else "<"
    start, length = struct.unpack_from(f"{order}II", head, 4)
    return SampleData(start, None if _is_placeholder(length) else length, size - start, 8, f"{order}I")


def _caf(file: BinaryIO, size: int) -> SampleData | None:
    place = 8
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        header = file.read(12)
        if len(header) < 12:
            return None
        (length,) = struct.unpack(">q", header[4:])
        if header[:4] == b"data":
            stated = None if length <= 4 else length - 4
            available = size - place - 16 if stated is None else min(stated, size - place - 16)
            return SampleData(place + 16, stated, available, place + 4, ">q", 4)
        if length < 0:
            return None
        place += 12 + length
    return None


def _sphere(file: BinaryIO, size: int) -> SampleData | None:
    """NIST's header is text: `sample_count -i 16000` and so on."""
    file.seek(0)
    lines = file.read(1024).split(b"\n")
    try:
        start = int(lines[1])
        fields = {words[0]: words[2] for words in map(bytes.split, lines[2:]) if len(words) >= 3}
        width = int(fields.get(b"sample_n_bytes", b"2")) * int(fields.get(b"channel_count", b"1"))
        stated = int(fields[b"sample_count"]) * width
    except (IndexError, KeyError, ValueError):
        return None
    if fields.get(b"sample_coding", b"pcm") not in (b"pcm", b"ulaw", b"mu-law", b"alaw"):
        return None  # compressed: its bytes say nothing of its length
    return SampleData(start, stated or None, size - start, 0, "")
