"""Recordings of two who talk in turns, made of clips of real speech."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion2vec.audio.samples import load_audio

RATE = 16_000
GAP = 0.5


@dataclass(frozen=True)
class Clip:
    """A clip of a corpus."""

    path: Path
    speaker: str
    emotion: str

    @property
    def samples(self) -> np.ndarray:
        """(S,) at 16 kHz."""
        return load_audio(self.path)


@dataclass(frozen=True)
class Turn:
    """A stretch of a recording in which one speaks, in s."""

    speaker: str
    start: float
    end: float
    clip: Clip


def emodb(shared: Path) -> list[Clip]:
    """The clips of EmoDB, as its table lists them."""
    folder = shared / "data" / "emodb"
    with (folder / "metadata.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return [Clip(folder / row["file"], row["speaker"], row["emotion"]) for row in rows]


def talk(clips: list[Clip], *, channels: int = 1) -> tuple[np.ndarray, list[Turn]]:
    """Samples (C, S) of clips one after the other, with faint noise in between, and who speaks when.

    Of two channels, each has one of the two speakers.
    """
    rng = np.random.default_rng(0)
    who = sorted({clip.speaker for clip in clips})
    rows, turns, now = [], [], 0.0
    for clip in clips:
        samples = np.concatenate([np.zeros(round(GAP * RATE), np.float32), clip.samples])
        row = 1e-4 * rng.standard_normal((channels, len(samples))).astype(np.float32)
        row[who.index(clip.speaker) % channels] += samples
        rows.append(row)
        turns.append(Turn(clip.speaker, now + GAP, now + len(samples) / RATE, clip))
        now += len(samples) / RATE
    return np.concatenate(rows, axis=1), turns
