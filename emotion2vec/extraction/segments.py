"""Lists of segments: RTTM (NIST) and Kaldi's `segments`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emotion2vec.data.formats import read_lines
from emotion2vec.errors import ManifestError


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Attributes:
        line: line of the list that it stands in.
        recording: name of the recording.
        start: in s.
        duration: in s.
        id: its own name, if the list gives one.
        speaker: who speaks, if the list says.
    """

    line: int
    recording: str
    start: float
    duration: float
    id: str | None = None
    speaker: str | None = None


def read_segments(source: Path) -> list[Segment]:
    """Read an RTTM file (`.rttm`) or a Kaldi `segments` file (`segment recording start end`).

    Raises:
        ManifestError: it cannot be read; all broken lines are named at once.
    """
    if not source.is_file():
        raise ManifestError(f"{source}: does not exist, expected an RTTM or a Kaldi segments file")
    lines, unreadable = read_lines(source)
    parse = _rttm if source.suffix.lower() == ".rttm" else _kaldi
    segments: list[Segment] = []
    faults = [str(fault) for fault in unreadable]
    for number, line in lines:
        try:
            segment = parse(number, line.split())
        except (ValueError, IndexError) as error:
            faults.append(f"{source}:{number}: {error}")
            continue
        if segment is not None:
            segments.append(segment)
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:20])
        raise ManifestError(f"{source}: {len(faults)} lines cannot be used:\n{shown}")
    return segments


def _rttm(number: int, fields: list[str]) -> Segment | None:
    """`SPEAKER recording channel start duration <NA> <NA> speaker ...`; lines of other types are passed over."""
    if fields[0] != "SPEAKER":
        return None
    if len(fields) < 8:
        raise ValueError(
            f"found {len(fields)} fields, expected at least 8: SPEAKER recording channel start duration ..."
        )
    start, duration = _times(fields[3], fields[4])
    return Segment(number, fields[1], start, duration, speaker=None if fields[7] == "<NA>" else fields[7])


def _kaldi(number: int, fields: list[str]) -> Segment:
    if len(fields) < 4:
        raise ValueError(f"found {len(fields)} fields, expected 4: segment recording start end")
    start, end = _times(fields[2], fields[3])
    return Segment(number, fields[1], start, _positive(end - start), id=fields[0])


def _times(first: str, second: str) -> tuple[float, float]:
    try:
        start, other = float(first), float(second)
    except ValueError:
        raise ValueError(f"times are {first!r} and {second!r}, expected seconds") from None
    if not 0 <= start < float("inf"):
        raise ValueError(f"starts at {first} s, expected 0 or more")
    return start, _positive(other)


def _positive(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise ValueError(f"lasts {seconds:g} s, expected more than 0")
    return seconds
