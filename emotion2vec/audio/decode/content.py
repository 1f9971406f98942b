"""What the bytes of a file are, whatever its name says."""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

HEAD_BYTES = 4096
"""Bytes from the start that tell it."""


class Kind(NamedTuple):
    """A kind of file: what people call it, and which program decodes it first; None when there is nothing to hear."""

    name: str
    decoder: str | None


_SNDFILE, _FFMPEG = "libsndfile", "ffmpeg"

WAV = Kind("WAV audio", _SNDFILE)
AIFF = Kind("AIFF audio", _SNDFILE)
AU = Kind("AU audio", _SNDFILE)
CAF = Kind("CAF audio", _SNDFILE)
W64 = Kind("W64 audio", _SNDFILE)
NIST = Kind("NIST SPHERE audio", _SNDFILE)
FLAC = Kind("FLAC audio", _SNDFILE)
OGG = Kind("Ogg audio", _SNDFILE)
MPEG_AUDIO = Kind("MP3 audio", _SNDFILE)
MP4 = Kind("MP4 or M4A audio or video", _FFMPEG)
AAC = Kind("AAC audio", _FFMPEG)
_MPEG_STREAM = Kind("an MPEG stream", _FFMPEG)
_TEXT = Kind("text", None)
_ARCHIVE = Kind("an archive", None)
_PICTURE = Kind("a picture", None)

_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"RIFX", WAV),
    (0, b"RF64", WAV),
    (0, b"BW64", WAV),
    (0, b"riff\x2e\x91\xcf\x11", W64),
    (0, b".snd", AU),
    (0, b"dns.", AU),
    (0, b"caff", CAF),
    (0, b"NIST_1A", NIST),
    (0, b"fLaC", FLAC),
    (0, b"Creative Voice File", Kind("VOC audio", _SNDFILE)),
    (0, b"2BIT", Kind("AVR audio", _SNDFILE)),
    (0, b" paf", Kind("PAF audio", _SNDFILE)),
    (0, b"fap ", Kind("PAF audio", _SNDFILE)),
    (0, b"PVF1", Kind("PVF audio", _SNDFILE)),
    (4, b"ftyp", MP4),
    (4, b"moov", MP4),
    (4, b"mdat", MP4),
    (4, b"wide", MP4),
    (4, b"free", MP4),
    (0, b"\x1a\x45\xdf\xa3", Kind("Matroska or WebM audio or video", _FFMPEG)),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("Windows Media audio or video", _FFMPEG)),
    (0, b"#!AMR", Kind("AMR audio", _FFMPEG)),
    (0, b"\x0b\x77", Kind("AC-3 audio", _FFMPEG)),
    (0, b"FLV\x01", Kind("Flash video", _FFMPEG)),
    (0, b".RMF", Kind("RealMedia", _FFMPEG)),
    (0, b"MAC ", Kind("Monkey's Audio", _FFMPEG)),
    (0, b"wvpk", Kind("WavPack audio", _FFMPEG)),
    (0, b"TTA1", Kind("TTA audio", _FFMPEG)),
    (0, b"tBaK", Kind("TAK audio", _FFMPEG)),
    (0, b"MPCK", Kind("Musepack audio", _FFMPEG)),
    (0, b"MP+", Kind("Musepack audio", _FFMPEG)),
    (0, b"DSD ", Kind("DSD audio", _FFMPEG)),
    (0, b"FRM8", Kind("DSD audio", _FFMPEG)),
    (0, b"ajkg", Kind("Shorten audio", _FFMPEG)),
    (0, b"\x00\x00\x01\xba", _MPEG_STREAM),
    (0, b"PK\x03\x04", _ARCHIVE),
    (0, b"\x1f\x8b", _ARCHIVE),
    (0, b"7z\xbc\xaf", _ARCHIVE),
    (0, b"Rar!", _ARCHIVE),
    (0, b"%PDF", Kind("a PDF document", None)),
    (0, b"\x89PNG", _PICTURE),
    (0, b"GIF8", _PICTURE),
    (0, b"\xff\xd8\xff", _PICTURE),
    (0, b"\x93NUMPY", Kind("a NumPy array", None)),
    (0, b"\x89HDF", Kind("an HDF5 file", None)),
    (0, b"version https://git-lfs", Kind("a pointer of Git LFS in place of the file: run git lfs pull", None)),
)


def kind_of_file(file: BinaryIO) -> Kind | None:
    """Tell what a seekable file is; a tag at its start is skipped, however long it is."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    while head[:3] == b"ID3" and len(head) >= 10:
        file.seek(tag_size(head) - len(head), os.SEEK_CUR)
        head = file.read(HEAD_BYTES)
        if not head[:4].strip(b"\0"):
            return MPEG_AUDIO
        if head[:3] != b"ID3":
            return kind_of(head) or MPEG_AUDIO
    return kind_of(head)


def kind_of(head: bytes) -> Kind | None:
    """Tell what a file is by its first bytes, `HEAD_BYTES` of them if there are; None when it cannot be told."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and 2 * head[:64].count(0) >= len(head[:64]) - 16:
        return _TEXT  # UTF-16
    if head[:4] == b"RIFF":
        return {b"WAVE": WAV, b"AVI ": Kind("AVI video", _FFMPEG)}.get(head[8:12])
    if head[:4] == b"FORM":
        return AIFF if head[8:12] in (b"AIFF", b"AIFC") else Kind("IFF audio", _SNDFILE)
    if head[:4] == b"OggS":
        foreign = any(mark in head[:256] for mark in (b"Speex  ", b"theora", b"OVP80", b"\x80kate"))
        return Kind("Ogg with Speex or video", _FFMPEG) if foreign else OGG
    for start, magic, kind in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return kind
    return _mpeg_kind(head) or _text_kind(head)


def _mpeg_kind(head: bytes) -> Kind | None:
    """MPEG's streams have no magic, only synchronization marks."""
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return AAC if head[1] & 0xF6 == 0xF0 else MPEG_AUDIO  # ADTS has layer 0
    if head[:1] == b"\x47" and head[188:189] == b"\x47" and head[376:377] == b"\x47":
        return _MPEG_STREAM
    return None


def tag_size(head: bytes) -> int:
    """Bytes of an ID3v2 tag with its header and footer, given its first 10."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + (20 if head[5] & 0x10 else 10)


def _text_kind(head: bytes) -> Kind | None:
    """Text, with what it seems to be."""
    if not head or any(byte < 9 or 13 < byte < 27 for byte in head):
        return None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return Kind("a web page", None)
    try:
        head[:-3].decode()
    except UnicodeDecodeError:
        return None
    return _TEXT
