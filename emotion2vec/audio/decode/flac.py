"""FLAC: the samples that its header states, and those that its last frame says there are."""

from __future__ import annotations

from typing import BinaryIO

from emotion2vec.audio.decode.content import tag_size

TAIL_BYTES = 1 << 18
"""Bytes at the end in which the last frame is looked for."""

TOTAL_AT = 13
"""Place of the byte in STREAMINFO whose lower half begins the 36 bits of the total."""


def read_totals(file: BinaryIO, size: int) -> tuple[int, int, int] | None:
    """Samples that are stated (0: left open), those that there are, and the place of the statement; None if broken."""
    file.seek(0)
    head = file.read(10)
    start = tag_size(head) if head[:3] == b"ID3" else 0
    file.seek(start)
    head = file.read(42)
    if len(head) < 42 or head[:4] != b"fLaC" or head[4] & 0x7F:
        return None
    info = head[8:]
    stated = (info[TOTAL_AT] & 0x0F) << 32 | int.from_bytes(info[TOTAL_AT + 1 : TOTAL_AT + 5], "big")
    block = int.from_bytes(info[2:4], "big")
    tail_at = max(start + 42, size - TAIL_BYTES)
    file.seek(tail_at)
    found = _last_sample(file.read(), block)
    return None if found is None else (stated, found, start + 8 + TOTAL_AT)


def total_bytes(head: int, total: int) -> bytes:
    """The five bytes of STREAMINFO that state a total; `head` is the first of them as it was."""
    return bytes([head & 0xF0 | total >> 32 & 0x0F]) + (total & 0xFFFFFFFF).to_bytes(4, "big")


def _last_sample(tail: bytes, block: int) -> int | None:
    """Samples up to the end of the last frame that follows another one: sound looks like a header now and then."""
    place = len(tail)
    expected: dict[int, int] = {}  # where an earlier frame must end for a later one to be real -> the end of that
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        header = tail[place : place + 16]
        if len(header) < 6 or header[1] & 0xFE != 0xF8:
            continue
        span = _frame_span(header, block)
        if span is None:
            continue
        start, end = span
        if end in expected:
            return expected[end]
        if start == 0:
            return end
        expected[start] = end
    return None


def _frame_span(header: bytes, block: int) -> tuple[int, int] | None:
    """First sample of a frame and the one after its last; None where its header's checksum is wrong."""
    variable, size_code, rate_code = header[1] & 1, header[2] >> 4, header[2] & 0x0F
    width = 8 - (header[4] ^ 0xFF).bit_length()  # ones before the first zero: bytes of the number, as in UTF-8
    if width in (1, 8) or size_code == 0:
        return None
    number = header[4] & (0x7F >> width)
    width = max(1, width)
    for byte in header[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    place, extra = 4 + width, {6: 1, 7: 2}.get(size_code, 0)
    own = int.from_bytes(header[place : place + extra], "big") + 1 if extra else _BLOCKS[size_code]
    place += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if place >= len(header) or _checksum(header[:place]) != header[place]:
        return None
    start = number if variable else number * block
    return start, start + own


_BLOCKS = {1: 192} | {code: 576 << code - 2 for code in range(2, 6)} | {code: 256 << code - 8 for code in range(8, 16)}


def _checksum(data: bytes) -> int:
    """CRC-8 with the polynomial x⁸ + x² + x + 1."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    return value
