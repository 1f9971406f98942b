"""Recordings that both sides of a split hear: clips that overlap in time, and other stretches of the same file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.units import counted

SAME = 0.5
"""Share of the shorter clip from which on two that overlap count as one; people who talk at once share less."""

Side = tuple[str, np.ndarray]
"""What clips do, such as `train`, and their positions."""


def check_overlaps(clips: Sequence[Utterance], one: Side, other: Side, *, own: bool) -> list[str]:
    """What is to be said of clips on two sides of a split that are of the same recordings.

    Args:
        clips: that positions refer to.
        one: a side.
        other: another one.
        own: whether the split is the user's own, who may mean it so.

    Raises:
        ConfigError: segments are the same for half or more of the shorter one, and the split is not the user's own.
            Whole files that several lists name are merely told of, as other copies of a recording are.
    """
    same, less, files, twice = _shared(clips, one[1], other[1])
    sides = f"clips that {one[0]} and clips that {other[0]}"
    notes = []
    if same:
        text = f"{len(same)} pairs of {sides} are the same speech for half or more: {examples(same)}"
        if not own:
            raise ConfigError(f"{text}; expected clips that do not overlap, or a split of your own (data.split)")
        notes.append(f"{text}; scores are not those of new speech")
    if twice:
        notes.append(f"{len(twice)} pairs of {sides} are the same file: {examples(twice)}")
    if less:
        notes.append(f"{len(less)} pairs of {sides} overlap in time: {examples(less)}")
    if files:
        count = counted(len(files), "recording")
        notes.append(f"{sides} share {count}, with their room and microphone: {examples(files)}")
    return notes


def _shared(
    clips: Sequence[Utterance], rows: np.ndarray, others: np.ndarray
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Pairs that are the same, pairs that overlap less, files that both sides have stretches of, and pairs of these."""
    by_file: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, positions in enumerate((rows, others)):
        for i in positions.tolist():
            by_file[str(clips[i].audio)][side].append(i)
    same: list[str] = []
    less: list[str] = []
    files: list[str] = []
    twice: list[str] = []
    for one, other in by_file.values():
        if one and other:
            for i, j, share in _pairs(clips, one, other):
                whole = clips[i].is_whole and clips[j].is_whole
                found = twice if whole else same if share >= SAME else less
                found.append(f"{clips[i].stretch} = {clips[j].stretch}")
            if not all(clips[i].is_whole for i in [*one, *other]):
                files.append(clips[one[0]].file)
    return same, less, files, twice


def _pairs(clips: Sequence[Utterance], one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int, float]]:
    """Clips of a file, one of either side, that overlap, with what this is of the shorter one."""
    spans = sorted((*_span(clips[i]), side, i) for side, rows in enumerate((one, other)) for i in rows)
    found: list[tuple[int, int, float]] = []
    open_: list[tuple[float, float, int, int]] = []
    for start, end, side, i in spans:
        open_ = [span for span in open_ if span[1] > start]
        for before, until, its_side, j in open_:
            if its_side != side and _heard_together(clips[i], clips[j]):
                shorter = min(end - start, until - before)
                share = 1.0 if math.isinf(shorter) else (min(end, until) - start) / shorter
                found.append((i, j, share) if side == 0 else (j, i, share))
        open_.append((start, end, side, i))
    return found


def _span(clip: Utterance) -> tuple[float, float]:
    """Start and end in s."""
    start = clip.start or 0.0
    return start, math.inf if clip.duration is None else start + clip.duration


def _heard_together(one: Utterance, other: Utterance) -> bool:
    """Whether no two channels tell clips apart."""
    return one.channel is None or other.channel is None or one.channel == other.channel
