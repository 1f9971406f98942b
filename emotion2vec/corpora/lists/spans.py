"""What tables call the start, end and duration of segments, beside our names: complete segments, or a message."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from emotion2vec.corpora.lists.rows import END_FIELDS, START_FIELDS

OURS = {"start": START_FIELDS, "end": END_FIELDS, "duration": ("duration",)}
"""Our names, which come before all others."""

THEIRS = {
    "start": "start_s start_sec start_secs start_seconds starttime startzeit begin_time begin_s beginn beginning "
    "anfang tmin xmin onset aanvang början inicio inizio início początek",
    "end": "end_s end_sec end_secs end_seconds endtime endzeit ending ende tmax xmax stop_time einde slut koniec",
    "duration": "duration_s duration_sec duration_secs duration_seconds dur dauer durée duree duración duracion durata "
    "duração duur",
}
"""Names in lower case that mean nothing else in a list of audio, most likely first."""

PAIRS = (
    "onset offset, von bis, t0 t1, t_start t_end, début fin, debut fin, inicio fin, inizio fine, "
    "desde hasta, início fim, från till"
)
"""Starts and ends that may mean other things, unless both are there."""

HINTS = "from to, de à, da a, od do, van tot"
"""Those that are often people or languages: never taken, and named where a segment lacks one end."""

_PAIRS = [(start, end) for start, end in map(str.split, PAIRS.split(","))]
_LIKELY = _PAIRS + [(start, end) for start, end in map(str.split, HINTS.split(","))]


@lru_cache(maxsize=1024)
def span_names(columns: frozenset[str], said: frozenset[str] = frozenset()) -> dict[str, str]:
    """Our names by those of a table, of what its segments are told by under other names than ours.

    Args:
        columns: the table's, in lower case.
        said: names of ours that the user has told columns for.
    """
    known = {kind for kind, fields in OURS.items() if not said.isdisjoint({kind, *fields})}
    if not known:
        for start, end in _PAIRS:
            ours = {name for kind in ("start", "end") for name in OURS[kind]} - {start, end}
            if {start, end} <= columns and columns.isdisjoint(ours):
                return {start: "start", end: "end"}
    known |= {kind for kind, fields in OURS.items() if not columns.isdisjoint(fields)}
    found: dict[str, str] = {}
    for kind, names in THEIRS.items():
        name = next((name for name in names.split() if name in columns), None)
        if name is not None and kind not in known and not (kind == "duration" and "end" in {*known, *found.values()}):
            found[name] = kind
    return found


def check_whole(columns: Collection[str], said: Collection[str] = ()) -> None:
    """See to it that no segment has one end alone where a column is likely to be the other; arguments as above.

    Raises:
        ValueError: one has.
    """
    columns = frozenset(columns)
    known = {kind for kind, fields in OURS.items() if not {kind, *fields}.isdisjoint([*columns, *said])}
    known |= set(span_names(columns, frozenset(said)).values())
    for missed, other, place in (("end", "start", 1), ("start", "end", 0)):
        if other in known and missed not in known and "duration" not in known:
            likely = next(
                (pair[place] for pair in _LIKELY if pair[place] in columns and pair[place] not in known), None
            )
            if likely is not None:
                raise ValueError(
                    f"a column says where segments {other}, and none where they {missed}; if that is {likely!r}, say "
                    f"columns {missed}={likely} (--columns {missed}={likely})"
                )
