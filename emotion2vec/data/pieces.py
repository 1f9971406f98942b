"""Sources in pieces of about the same audio, the same whoever asks: what is computed of a corpus once, part by part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.data.sources import Loaded, Source

PIECE_SECONDS = 900.0
"""Audio of a piece: what a restart may compute again, and what memory has to hold."""

TOGETHER = 256
"""Utterances whose places are asked for at the same time."""


class Piece(NamedTuple):
    """Utterances of one source: the first, and the one after the last."""

    source: int
    first: int
    stop: int


def lengths_of(source: Source) -> np.ndarray:
    """Lengths of a source's utterances, in samples at 16 kHz, in its order."""
    count = int(source.counts.sum())
    return source.entries([(0, count)])["length"].astype(np.int64) if count else np.zeros(0, np.int64)


def lengths_hash(sources: Sequence[Source]) -> str:
    """Hash of all utterances' lengths, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for row in map(lengths_of, sources):
        digest.update(len(row).to_bytes(8, "little") + row.astype("<i8").tobytes())
    return digest.hexdigest()


def plan_pieces(sources: Sequence[Source]) -> list[Piece]:
    """Pieces of about `PIECE_SECONDS` each, which cover all sources."""
    pieces = []
    for number, source in enumerate(sources):
        lengths = lengths_of(source)
        owner = (np.cumsum(lengths) - lengths) // int(PIECE_SECONDS * SAMPLE_RATE)
        bounds = [*np.flatnonzero(np.diff(owner, prepend=-1)).tolist(), len(lengths)]
        pieces += [Piece(number, first, stop) for first, stop in pairwise(bounds)]
    return pieces


def loaded(source: Source, places: Sequence[int]) -> Iterator[Loaded]:
    """Decode utterances of a source by their places in it, one after the other."""
    for first in range(0, len(places), TOGETHER):
        entries = source.entries([(place, place + 1) for place in places[first : first + TOGETHER]])
        for entry in np.split(entries, len(entries)):
            yield from source.load(entry)
