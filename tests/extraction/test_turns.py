"""Turns of recordings: by TextGrid, ELAN, RTTM and pyannote, and by channels; and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from extraction.helpers import speech

from emotion2vec.cli.shared import say_faults
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.lists.marks import read_marks
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.sources.named import read_sources

MARKS = {"An na": [(0.5, 1.25, 'said "hm"'), (2.0, 3.0, "é")], "B": [(1.0, 2.5, "yes\nno")]}


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    sound = np.stack([speech(64_000, 1), speech(64_000, 2)], axis=1)
    soundfile.write(tmp_path / "in" / "my talk.wav", sound, 16_000, subtype="FLOAT")
    return tmp_path / "in" / "my talk.wav"


def turns_of(source: Any, **options: Any) -> dict[str | None, list[tuple[float, float, str]]]:
    found: dict[str | None, list[tuple[float, float, str]]] = {}
    for item in read_sources(source, **options).utterances:
        assert item.start is not None and item.duration is not None
        span = round(item.start, 6), round(item.start + item.duration, 6)
        found.setdefault(item.speaker, []).append((*span, item.row.get("text", "")))
    return found


@pytest.mark.parametrize("form", ["text", "short text"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16"])
def test_textgrids_of_praat_in_every_form(talk: Path, form: str, encoding: str) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    call = parselmouth.praat.call
    call("Text writing preferences...", encoding)
    grid = call("Create TextGrid", 0, 4, f"{' '.join(['Anna', 'B', 'p'])}", "p")
    call(grid, "Set tier name", 1, "An na")
    for tier, marks in enumerate(MARKS.values(), start=1):
        for edge in sorted({edge for start, end, _ in marks for edge in (start, end)}):
            call(grid, "Insert boundary", tier, edge)
        for start, end, text in marks:
            place = call(grid, "Get interval at time", tier, (start + end) / 2)
            call(grid, "Set interval text", tier, place, text)
    call(grid, "Insert point", 3, 1.5, "a point is no turn")
    path = talk.parent / "my talk.TextGrid"
    call(grid, f"Save as {form} file", str(path))
    call("Text writing preferences...", "UTF-8")
    assert turns_of(talk, segments=path) == MARKS
    assert turns_of(talk, segments=talk.parent) == MARKS  # all lists of a folder


def test_annotations_of_elan_name_their_media(talk: Path, tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    document = pympi.Elan.Eaf()
    document.add_linked_file("file:///C:/data/my talk.wav")
    document.remove_tier("default")
    for number, (speaker, marks) in enumerate(MARKS.items()):
        document.add_tier(f"tier {number}", part=speaker)
        for start, end, text in marks:
            document.add_annotation(f"tier {number}", round(1000 * start), round(1000 * end), text)
    document.to_file(str(tmp_path / "session 7.eaf"))
    assert turns_of(talk, segments=tmp_path / "session 7.eaf") == MARKS


def test_annotations_of_pyannote(talk: Path) -> None:
    pytest.importorskip("pyannote.core")
    from pyannote.core import Annotation, Segment

    annotation = Annotation(uri="my_talk")
    for speaker, marks in MARKS.items():
        for start, end, _ in marks:
            annotation[Segment(start, end)] = speaker
    expected = {speaker: [(start, end, "") for start, end, _ in marks] for speaker, marks in MARKS.items()}
    for segments in (annotation, [annotation], {"my talk": annotation}):
        assert turns_of(talk, segments=segments) == expected
    annotation.uri = None
    assert turns_of(talk, segments=annotation) == expected
    soundfile.write(talk.parent / "other.wav", speech(16_000), 16_000)
    with pytest.raises(ConfigError, match="segments has no uri, and there are 2 recordings"):
        read_sources(talk.parent, segments=annotation)
    with pytest.raises(ConfigError, match="segments is a int, expected a file, vad, annotations of pyannote, a funct"):
        read_sources(talk, segments=7)


def test_recordings_are_found_by_other_spaces_and_near_names_are_told(talk: Path, tmp_path: Path) -> None:
    names = ("my_talk", "mytalk", "my_tolk", "zzz")
    lines = [f"SPEAKER {name} 1 0.{place} 1.0 <NA> <NA> s <NA> <NA>\n" for place, name in enumerate(names)]
    (tmp_path / "t.rttm").write_text("".join(lines))
    found = read_sources(talk, segments=tmp_path / "t.rttm")
    assert len(found.utterances) == 2
    assert [str(change).partition("t.rttm:")[2] for change in found.changes] == [
        "1: name of a recording with other spaces: my_talk is my talk",
        "2: name of a recording with other spaces: mytalk is my talk",
    ]
    assert [fault.reason for fault in found.faults] == [
        "expected one recording named 'my_tolk', found none; did you mean 'my talk'?",
        "expected one recording named 'zzz', found none",
    ]


def test_the_same_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault(f"t.rttm:{line}", "no such recording") for line in range(1, 501)] + [Fault("a.wav", "empty")]
    say_faults("failed", faults)
    assert capsys.readouterr().err.splitlines() == [
        "501 failed:",
        "  t.rttm:1: no such recording (and 499 more that say the same)",
        "  a.wav: empty",
    ]


def test_every_channel_is_a_speaker(talk: Path) -> None:
    soundfile.write(talk.parent / "one.wav", speech(16_000), 16_000)
    (talk.parent / "broken.wav").write_bytes(b"")
    found = read_sources(talk.parent, speakers="channel")
    assert [(item.id, item.channel, item.speaker) for item in found.utterances] == [
        ("my talk_channel0", 0, "channel 0"),
        ("my talk_channel1", 1, "channel 1"),
        ("one", None, None),
    ]
    sound, _ = soundfile.read(talk, dtype="float32")
    for number in (0, 1):
        np.testing.assert_allclose(found.utterances[number].load(), sound[:, number], atol=1e-6)
    assert [change.kind for change in found.changes] == ["a single channel is one speaker"]
    assert "broken.wav" in str(found.faults[0])
    for options, message in (
        ({"speakers": "face"}, "speakers is 'face', expected channel"),
        ({"speakers": "channel", "channel": 0}, "speakers and channel are given, expected one of them"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_sources(talk, **options)


def test_turns_of_channels_are_found_in_each_and_listed_in_time(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Detector:
        """Says where a channel is louder than its quiet parts."""

        def regions(self, blocks: Any) -> list[tuple[float, float]]:
            loud = float(np.abs(np.concatenate(list(blocks))).max()) > 0.5
            return [(0.0, 1.0), (2.0, 3.0)] if loud else [(1.0, 2.0), (3.0, 4.0)]

    monkeypatch.setattr("emotion2vec.corpora.lists.speech.SpeechDetector", Detector)
    sound = np.stack([np.full(64_000, 0.9), np.full(64_000, 0.1)], axis=1)
    soundfile.write(talk, sound, 16_000, subtype="FLOAT")
    found = read_sources(talk, speakers="channel", segments="vad").utterances
    assert [(item.speaker, item.start) for item in found] == [
        ("channel 0", 0), ("channel 1", 1), ("channel 0", 2), ("channel 1", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.TextGrid", "hello", "cannot be read as a TextGrid of Praat: it begins with 'hello'"),
        (
            "x.TextGrid",
            '"ooTextFile"\n"TextGrid"\n0 4 <exists> 1 "IntervalTier" "a" 0 4 2 0 1 "x" 1',
            "cut off or broken",
        ),
        ("x.TextGrid", "", "it begins with ''"),
        ("x.eaf", "<a><b></a>", "cannot be read as an .eaf of ELAN: mismatched tag"),
        ("x.eaf", "<svg/>", "it is a svg, expected an ANNOTATION_DOCUMENT"),
        ("x.eaf", '<!DOCTYPE a [<!ENTITY b "c">]><ANNOTATION_DOCUMENT/>', "it declares entities"),
    ],
)
def test_broken_annotations_are_refused_in_a_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ManifestError) as caught:
        read_marks(tmp_path / name)
    assert message in str(caught.value)


def test_intervals_that_cannot_be_are_named_and_the_others_kept(tmp_path: Path) -> None:
    intervals = '-1 1 "early" 1 2 "good" 2 2 "empty" 3 2.5 "backwards" 4 5 "late"'
    (tmp_path / "x.TextGrid").write_text(f'"ooTextFile" "TextGrid" 0 9 <exists> 1 "IntervalTier" "a" 0 9 5 {intervals}')
    segments, faults = read_marks(tmp_path / "x.TextGrid")
    assert [segment.text for segment in segments] == ["good", "late"]
    reasons = [fault.reason for fault in faults]
    assert reasons[0].startswith("the start is -1.0, expected seconds")
    assert reasons[1:] == [
        "the interval 'empty' of 'a' ends at 2 s, expected after 2 s",
        "the interval 'backwards' of 'a' ends at 2.5 s, expected after 3 s",
    ]
