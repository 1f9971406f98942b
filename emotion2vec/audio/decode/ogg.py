"""Ogg (Opus, Vorbis, FLAC): its pages, which tell streams that follow each other, gaps and cut ends."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

PAGE_HEADER = 27
CONTINUED, FIRST, LAST = 1, 2, 4


@dataclass
class OggStreams:
    """What the pages of a file are.

    Attributes:
        starts: places where streams begin that follow each other, as in joined files.
        missing: pages that are missing, by the numbers of those that are there.
        junk: bytes between pages that belong to none.
        cut: whether the file ends within a page.
        finished: whether the last page says that it is the last.
    """

    starts: list[int] = field(default_factory=list)
    missing: int = 0
    junk: int = 0
    cut: bool = False
    finished: bool = False


def read_pages(file: BinaryIO, size: int) -> OggStreams:
    """Go from page to page to the end; only their headers are read."""
    found = OggStreams()
    numbers: dict[int, int] = {}
    place, only_first = 0, False
    while place < size:
        file.seek(place)
        head = file.read(PAGE_HEADER + 255)
        if head[:4] != b"OggS":
            following = _find_page(file, place + 1, size)
            if following is None:
                found.cut = found.cut or bool(head.strip(b"\0"))
                break
            found.junk += following - place
            place = following
            continue
        if len(head) < PAGE_HEADER or len(head) < PAGE_HEADER + head[26]:
            found.cut = True
            break
        flags, serial, number = head[5], *struct.unpack_from("<II", head, 14)
        if flags & FIRST:
            if not only_first:  # streams that run side by side begin together
                found.starts.append(place)
            numbers[serial] = number
        elif serial in numbers:
            found.missing += max(0, number - numbers[serial] - 1)
            numbers[serial] = number
        only_first = bool(flags & FIRST)
        found.finished = bool(flags & LAST)
        length = PAGE_HEADER + head[26] + sum(head[PAGE_HEADER : PAGE_HEADER + head[26]])
        found.cut = place + length > size
        place += length
    return found


def _find_page(file: BinaryIO, place: int, size: int) -> int | None:
    """Where the next page begins."""
    while place < size:
        file.seek(place)
        piece = file.read(1 << 16)
        found = piece.find(b"OggS")
        if found >= 0:
            return place + found
        place += max(1, len(piece) - 3)
    return None
