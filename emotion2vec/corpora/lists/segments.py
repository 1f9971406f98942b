"""Lists of segments: RTTM (NIST) and Kaldi's `segments`."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from emotion2vec.corpora.faults import Fault, reason_of
from emotion2vec.corpora.lists.lines import Lines, read_lines
from emotion2vec.corpora.lists.rows import check_span
from emotion2vec.corpora.names import normal
from emotion2vec.errors import ManifestError
from emotion2vec.units import counted

SPACES, WORD = r"[ \t]+", r"[^ \t]+"

RTTM_SPEAKER = re.compile(
    rf"SPEAKER{SPACES}(?P<recording>[^ \t].*?){SPACES}(?P<channel>{WORD}){SPACES}(?P<start>{WORD}){SPACES}"
    rf"(?P<duration>{WORD})"
    rf"{SPACES}<NA>{SPACES}<NA>{SPACES}(?P<speaker>[^ \t].*?)(?:{SPACES}<NA>(?:{SPACES}<NA>)?)?"
)
"""A line as NIST has it: names with spaces stand between fields that cannot be mistaken."""

MOST_CHARACTERS = 4096
"""Length of a line: names with spaces are looked for in time that grows with its square."""

TO_THE_END = -1.0
"""What Kaldi writes as the end of a segment that lasts until the end of its recording, in s."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Attributes:
        line: line of the list that it stands in.
        recording: name of the recording.
        start: in s.
        duration: in s; None for all until the end of the recording.
        channel: the channel to take, counted from 0; None if the list names none, or the same for all.
        id: its own name, if the list gives one.
        speaker: who speaks, if the list says.
        text: what the list says of it besides.

    Raises:
        ValueError: a time or a channel is one that no audio has.
    """

    line: int
    recording: str
    start: float
    duration: float | None
    channel: int | None = None
    id: str | None = None
    speaker: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        check_span(self.start, self.duration, self.channel)


def read_segments(source: Path, known: Container[str] = ()) -> tuple[list[Segment], list[Fault]]:
    """Read an RTTM file (`.rttm`) or a Kaldi `segments` file (`segment recording start end [channel]`).

    Kaldi counts channels from 0 or calls them A and B. RTTM counts from 1 (some tools from 0, which a 0 in the list
    shows); where all its lines name one and the same first channel, that says nothing about the recording, as tools
    write it of mixtures too, and no channel is taken.

    Args:
        source: the file.
        known: names of recordings in their normal form, by which names with spaces are told from what follows them.

    Returns:
        The segments, and a fault for each line that is none.

    Raises:
        ManifestError: it cannot be read, or has no usable line; all broken lines are named at once.
    """
    if not source.is_file():
        raise ManifestError(f"{source}: does not exist, expected an RTTM or a Kaldi segments file")
    lines, faults = read_lines(source)
    is_rttm = source.suffix.lower() == ".rttm"
    segments, broken = parse_segments(str(source), lines, is_rttm=is_rttm, known=known)
    faults += broken
    if faults and not segments:
        shown = "\n".join(f"  {fault}" for fault in faults[:20])
        raise ManifestError(f"{source}: {counted(len(faults), 'line')} cannot be used:\n{shown}")
    return segments, faults


def parse_segments(
    source: str, lines: Lines, *, is_rttm: bool = True, known: Container[str] = ()
) -> tuple[list[Segment], list[Fault]]:
    """The segments in lines of `source`, and a fault for each line that is none; see `read_segments`."""
    faults: list[Fault] = []
    segments: list[Segment] = []
    for number, line in lines:
        try:
            if len(line) > MOST_CHARACTERS:
                raise ValueError(f"the line has {len(line):,} characters, expected at most {MOST_CHARACTERS:,}")
            segment = _rttm(number, line) if is_rttm else _kaldi(number, line, known)
        except Exception as error:  # whatever one line holds must not end a job of many
            faults.append(Fault(f"{source}:{number}", reason_of(error)))
            continue
        if segment is not None:
            segments.append(segment)
    return (_counted_from_zero(segments) if is_rttm else segments), faults


def _rttm(number: int, line: str) -> Segment | None:
    """`SPEAKER recording channel start duration <NA> <NA> speaker ...`; lines of other types are passed over."""
    fields = line.split("\t") if line.count("\t") >= 7 else re.split(SPACES, line.strip(" \t"))
    if fields[0].strip() != "SPEAKER":
        return None
    if match := RTTM_SPEAKER.fullmatch(line.strip(" \t")):
        fields = ["SPEAKER", *(match[name] for name in ("recording", "channel", "start", "duration"))]
        fields += ["<NA>", "<NA>", match["speaker"]]
    if len(fields) < 8:
        raise ValueError(
            f"found {len(fields)} fields, expected at least 8: SPEAKER recording channel start duration ..."
        )
    start, duration = _times(fields[3], fields[4])
    speaker = None if fields[7] == "<NA>" else fields[7]
    return Segment(number, fields[1], start, _positive(duration), _channel(fields[2]), speaker=speaker)


def _counted_from_zero(segments: Sequence[Segment]) -> list[Segment]:
    """Channels of RTTM as they are counted everywhere else; none where the list does not tell channels apart."""
    named = {segment.channel for segment in segments} - {None}
    if named <= {0} or named == {1}:
        return [replace(segment, channel=None) for segment in segments]
    first = 0 if 0 in named else 1
    return [
        segment if segment.channel is None else replace(segment, channel=segment.channel - first)
        for segment in segments
    ]


def _kaldi(number: int, line: str, known: Container[str]) -> Segment:
    """A line of Kaldi's; a recording's name may have spaces if it is known."""
    fields = re.split(SPACES, line.strip(" \t"))
    if len(fields) < 4:
        raise ValueError(f"found {len(fields)} fields, expected 4 or 5: segment recording start end [channel]")
    if len(fields) == 4:
        return _kaldi_segment(number, line, 2)
    readings: list[Segment] = []
    for last in (3, 2):  # start, end and channel; then without a channel, and the name a word longer
        with suppress(ValueError):
            readings.append(_kaldi_segment(number, line, last))
    fitting = [reading for reading in readings if normal(reading.recording) in known]
    if len(fields) == 5:
        fitting = fitting or [_kaldi_segment(number, line, 3)]
    if len(fitting) != 1:
        found = " and ".join(repr(reading.recording) for reading in fitting or readings)
        raise ValueError(f"recordings named {found or 'so'} are possible, expected one of those that are there")
    return fitting[0]


def _kaldi_segment(number: int, line: str, last: int) -> Segment:
    """Read a line whose last two or three fields are start, end and channel; what is before them is names."""
    match = re.fullmatch(rf"[ \t]*([^ \t]+){SPACES}([^ \t].*?)((?:{SPACES}[^ \t]+){{{last}}})[ \t]*", line)
    assert match is not None
    first, second, *channel = re.split(SPACES, match[3].lstrip(" \t"))
    start, end = _times(first, second)
    duration = None if end == TO_THE_END else _positive(end - start)
    return Segment(number, match[2], start, duration, _channel(channel[0]) if channel else None, id=match[1])


def _channel(name: str) -> int | None:
    """A channel's number, as the list counts; `A` is 0 and `B` is 1."""
    if name == "<NA>":
        return None
    if name in ("A", "B"):
        return "AB".index(name)
    if not re.fullmatch(r"\d+", name, re.ASCII):
        raise ValueError(f"channel is {name!r}, expected a number, A or B")
    return int(name)


def _times(first: str, second: str) -> tuple[float, float]:
    try:
        start, other = float(first), float(second)
    except ValueError:
        raise ValueError(f"times are {first!r} and {second!r}, expected seconds") from None
    if not 0 <= start < float("inf"):
        raise ValueError(f"starts at {first} s, expected 0 or more")
    return start, other


def _positive(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise ValueError(f"lasts {seconds:g} s, expected more than 0")
    return seconds
