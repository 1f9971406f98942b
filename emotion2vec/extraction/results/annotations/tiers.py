"""Rows of results -> what is said of a recording, one tier for each speaker."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.results.rows import Row

UNNAMED = "emotion"
"""Name of the tier of what nobody is known to say."""


class Mark(NamedTuple):
    """A label of a stretch, from start to end in s, with its probability."""

    start: float
    end: float
    label: str
    confidence: float


@dataclass(frozen=True)
class Tier:
    """Marks of one speaker in the order of time.

    Attributes:
        name: the speaker, else the channel, else `UNNAMED`; with a number behind it where marks overlap and lie in
            several tiers.
        speaker: as the list says; None if it does not.
        channel: counted from 0; None for the mean of all.
        marks: in order.
    """

    name: str
    speaker: str | None
    channel: int | None
    marks: list[Mark]


@dataclass(frozen=True)
class Annotation:
    """What is said of one recording.

    Attributes:
        file: as results name it.
        name: a short one, which no other recording of the job has.
        audio: where it is.
        seconds: the latest end of a row.
        tiers: in the order in which speakers appear in the list.
    """

    file: str
    name: str
    audio: str
    seconds: float
    tiers: list[Tier]

    @property
    def in_order(self) -> list[tuple[Tier, Mark]]:
        """Marks of all tiers in the order of time."""
        found = [(tier, mark) for tier in self.tiers for mark in tier.marks]
        return sorted(found, key=lambda pair: pair[1][:2])

    @property
    def apart(self) -> Annotation:
        """The same with no two marks of a tier over each other: what overlaps lies in further tiers."""
        tiers: list[Tier] = []
        for tier in self.tiers:
            rows: list[list[Mark]] = []
            for mark in tier.marks:
                free = next((row for row in rows if row[-1].end <= mark.start), None)
                if free is None:
                    rows.append([mark])
                else:
                    free.append(mark)
            names = [tier.name, *(f"{tier.name} ({number})" for number in range(2, len(rows) + 1))]
            tiers += [Tier(name, tier.speaker, tier.channel, row) for name, row in zip(names, rows, strict=False)]
        return replace(self, tiers=tiers)


@dataclass
class _Voice:
    """Marks of one speaker in one recording, 28 bytes each."""

    numbers: array[float] = field(default_factory=lambda: array("d"))
    labels: array[int] = field(default_factory=lambda: array("i"))


class Collected:
    """Collects rows by recording and speaker; rows without a label are no marks.

    Args:
        labels: the K labels.
        names: of recordings, by their files.
    """

    def __init__(self, labels: Sequence[str], names: Mapping[str, str]):
        self._labels = list(labels)
        self._names = names
        self._places = {label: place for place, label in enumerate(labels)}
        self._recordings: dict[str, tuple[str, list[float], dict[tuple[Any, Any], _Voice]]] = {}

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """See `Rows`."""
        _, last, voices = self._recordings.setdefault(item.file, (str(item.audio), [0.0], {}))
        last[0] = max(last[0], rows[-1].end)
        voice = voices.setdefault((item.speaker, item.channel), _Voice())
        for row in rows:
            if row.label is not None and row.confidence is not None:
                voice.numbers.extend((row.start, row.end, row.confidence))
                voice.labels.append(self._places[row.label])

    def annotations(self) -> Iterator[Annotation]:
        """Every recording's annotation, one after the other."""
        for file, (audio, (seconds,), voices) in self._recordings.items():
            tiers = []
            for (speaker, channel), voice in voices.items():
                times = zip(voice.numbers[0::3], voice.numbers[1::3], voice.labels, voice.numbers[2::3], strict=True)
                marks = sorted(Mark(start, end, self._labels[place], sure) for start, end, place, sure in times)
                tiers.append(Tier(tier_name(speaker, channel, voices), speaker, channel, marks))
            yield Annotation(file, self._names[file], audio, seconds, tiers)


def tier_name(speaker: str | None, channel: int | None, voices: Collection[tuple[Any, Any]]) -> str:
    """A name that no other voice of the recording has."""
    if speaker is None:
        return UNNAMED if channel is None else f"channel {channel}"
    alike = sum(1 for other, _ in voices if other == speaker)
    return speaker if alike == 1 or channel is None else f"{speaker}, channel {channel}"
