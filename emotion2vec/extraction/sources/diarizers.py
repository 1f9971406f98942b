"""Who speaks when in a recording, as the user's own diarizer says: a command, or a function."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from emotion2vec.audio.decode.process import Program
from emotion2vec.corpora.faults import Fault, reason_of
from emotion2vec.corpora.lists.lines import split_lines
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.lists.segments import Segment, parse_segments
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Held, Listing, Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.sources.cutting import stretch_of, turns_of

PLACE = "{}"
"""Where the recording's path goes in a command."""

PATIENCE = 24 * 3600.0
"""Longest time that a command may take for a recording, in s."""

MOST_BYTES = 1 << 26
"""Of what a command says of a recording."""

Said = tuple[list[Segment], list[Fault]]
"""Turns, and what is none."""


def is_diarizer(segments: Any) -> bool:
    """Whether segments are not listed but asked for: by a function, or by a command with `{}` in it."""
    if isinstance(segments, str | os.PathLike):
        return PLACE in os.fspath(segments) and not os.path.lexists(segments)
    return callable(segments)


def diarized(items: Sequence[Utterance], diarizer: str | os.PathLike[str] | Callable[[str], Any]) -> Listing:
    """Replace recordings by their turns.

    A recording that fails, or in which nobody speaks, is a fault, and the others go on.

    Args:
        items: the recordings, each of which is asked about once.
        diarizer: a command, `{}` in it being the recording's path, which writes RTTM to its output; it is started
            without a shell. Or a function of the path that gives an annotation of pyannote.core, or start, end (in s)
            and speaker of each turn.

    Raises:
        ConfigError: there is no such program.
    """
    if isinstance(diarizer, str | os.PathLike):
        ask = _by_command(os.fspath(diarizer))
    else:
        ask = partial(_by_function, diarizer)
    cut: list[tuple[str, Utterance]] = []
    faults: list[Fault] = []
    for item in {str(item.audio): item for item in items}.values():
        try:
            if isinstance(item.audio, Held):
                raise ValueError("it is in memory, and a diarizer is told a file")
            turns, broken = ask(os.path.abspath(item.audio) if os.path.exists(item.audio) else str(item.audio))
            if not turns and not broken:
                raise ValueError("the diarizer heard nobody")
        except Exception as error:  # whatever one recording does to a diarizer must not end a job of many
            faults.append(Fault(item.where, reason_of(error)))
            continue
        cut += [(f"{item.where}, turn {turn.line}", stretch_of(item, turn)) for turn in turns]
        faults += [replace(fault, where=f"{item.where}, the diarizer's line {_line(fault)}") for fault in broken]
    stretches, repeated = unique_ids(cut, set())
    return Listing(stretches, [*faults, *repeated])


def _line(fault: Fault) -> str:
    return fault.where.rpartition(":")[2]


def _by_command(command: str) -> Callable[[str], Said]:
    """What asks a program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"segments is the command {command!r}, which cannot be read: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise ConfigError(f"segments is the command {command!r}, and there is no program {''.join(words[:1])!r}")

    def ask(path: str) -> Said:
        program = Program([word.replace(PLACE, path) for word in words], PATIENCE)
        try:
            said = program.read(MOST_BYTES)
            code, messages = program.wait()
        finally:
            program.close()
        if program.timed_out or code:
            why = "takes too long" if program.timed_out else f"ends with exit code {code}"
            raise ValueError(f"the diarizer {why}" + (f": {messages[-1]}" if messages else ""))
        lines = [(number, line.decode(errors="replace")) for number, line in enumerate(split_lines(said), start=1)]
        return parse_segments(path, [(number, line) for number, line in lines if line.strip()])

    return ask


def _by_function(diarizer: Callable[[str], Any], path: str) -> Said:
    """Ask a function."""
    said = diarizer(path)
    said = getattr(said, "speaker_diarization", said)  # pyannote.audio from 4 on gives more than turns
    if hasattr(said, "itertracks"):
        return list(turns_of(said, stem(path))), []
    turns: list[Segment] = []
    faults: list[Fault] = []
    for number, row in _numbered(said):
        try:
            start, end, speaker = row
            turns.append(Segment(number, stem(path), float(start), float(end) - float(start), speaker=str(speaker)))
        except (TypeError, ValueError) as error:
            faults.append(Fault(f"{path}:{number}", f"{str(row)[:80]}: {error}; expected start, end, speaker"))
    return turns, faults


def _numbered(said: Any) -> Iterator[tuple[int, Any]]:
    if not isinstance(said, Iterable) or isinstance(said, str | bytes):
        raise ValueError(f"the diarizer gives a {type(said).__name__}, expected start, end, speaker of each turn")
    return enumerate(said, start=1)
