"""Diarizers of the user's own: what they are asked, what they may answer, and what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
from extraction.helpers import speech

from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.sources.named import read_sources

TURNS = [(0.5, 1.25, "Anna"), (1.0, 2.5, "Bob B"), (3.0, 3.5, "Anna")]

PROGRAM = """
import sys
path = sys.argv[1]
print(path, file=sys.stderr)
if "broken" in path: sys.exit("cannot hear " + path)
if "silent" in path: sys.exit(0)
print("SPEAKER whatever 1 0.5 0.75 <NA> <NA> Anna <NA> <NA>")
print("SPEAKER whatever 1 x 1.5 <NA> <NA> Bob <NA> <NA>")
print("SPEAKER whatever 1 1.0 1.5 <NA> <NA> Bob B <NA> <NA>")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of 4 s, of which some make a diarizer fail; two have the same name."""
    for place in ("in/a/talk one.wav", "in/b/talk one.wav", "in/broken.wav", "in/silent.wav"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / place, speech(64_000, 1), 16_000, subtype="FLOAT")
    return tmp_path / "in"


def turns(items: Any) -> list[tuple[str, str | None, float, float]]:
    return [
        (str(item.audio.parent.name), item.speaker, item.start, round(item.start + item.duration, 6)) for item in items
    ]


def test_a_command_is_asked_about_each_recording(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "di arize.py"
    program.write_text(PROGRAM)
    found = read_sources(folder, segments=f"{sys.executable} '{program}' {{}}")
    expected = [("Anna", 0.5, 1.25), ("Bob B", 1.0, 2.5)]
    assert turns(found.utterances) == [(place, *one) for place in ("a", "b") for one in expected]
    assert len({item.id for item in found.utterances}) == 4
    told = {fault.where: fault.reason for fault in found.faults}
    lines = [why for where, why in told.items() if where.endswith("the diarizer's line 2")]
    assert len(lines) == 2 and all("x" in why for why in lines)
    (broken,) = (why for where, why in told.items() if "broken.wav" in where)
    assert broken.startswith("the diarizer ends with exit code 1: cannot hear ") and "broken.wav" in broken
    (silent,) = (why for where, why in told.items() if "silent.wav" in where)
    assert silent == "the diarizer heard nobody" and len(told) == 4


def test_no_shell_reads_what_files_are_called(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(PROGRAM)
    name = "x; touch hacked $(touch hacked) `touch hacked`.wav"
    soundfile.write(tmp_path / name, speech(64_000, 1), 16_000)
    found = read_sources(tmp_path / name, segments=f"{sys.executable} {program} {{}}")
    assert len(found.utterances) == 2 and not list(tmp_path.rglob("hacked")) and not Path("hacked").exists()


def test_a_function_answers_with_rows_or_annotations(folder: Path) -> None:
    core = pytest.importorskip("pyannote.core")
    annotation = core.Annotation()
    for start, end, speaker in TURNS:
        annotation[core.Segment(start, end)] = speaker
    asked: list[str] = []

    def rows(path: str) -> list[tuple[float, float, str]]:
        asked.append(path)
        return TURNS

    answers: list[Any] = [rows, lambda path: annotation, lambda path: SimpleNamespace(speaker_diarization=annotation)]
    for diarizer in answers:
        found = read_sources(folder / "a" / "talk one.wav", segments=diarizer)
        assert turns(found.utterances) == [("a", speaker, start, end) for start, end, speaker in TURNS]
    assert asked == [str(folder / "a" / "talk one.wav")]


def test_what_a_function_gives_else_is_a_fault_of_its_own(folder: Path) -> None:
    def diarizer(path: str) -> Any:
        if "broken" in path:
            raise RuntimeError("no model")
        return 7 if "silent" in path else [(0.5, 1.0, "Anna"), (2.0, 1.0, "Bob"), ("?", 3.0)]

    found = read_sources(folder, segments=diarizer)
    assert turns(found.utterances) == [(place, "Anna", 0.5, 1.0) for place in ("a", "b")]
    reasons = [fault.reason for fault in found.faults]
    assert "cannot be used: RuntimeError: no model" in reasons
    assert "the diarizer gives a int, expected start, end, speaker of each turn" in reasons
    assert len(reasons) == 6 and sum("expected start, end, speaker" in why for why in reasons) == 5


def test_programs_that_are_not_there_are_named_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'no-such-diarizer \{\}', and there is no program 'no-such-diarizer'"):
        read_sources(folder, segments="no-such-diarizer {}")
    with pytest.raises(ConfigError, match="cannot be read: No closing quotation"):
        read_sources(folder, segments="'diarize {}")
    with pytest.raises(ManifestError, match=r"nothing to extract: .*the diarizer heard nobody"):
        read_sources(folder / "silent.wav", segments=lambda path: [])
