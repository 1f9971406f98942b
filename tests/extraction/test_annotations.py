"""Annotations, read back by the libraries of the tools that they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import PredictOptions
from emotion2vec.extraction.results.annotations.export import export_faults
from emotion2vec.extraction.results.names import file_names
from emotion2vec.extraction.results.outputs import open_results
from emotion2vec.extraction.results.rows import RowMaker
from emotion2vec.extraction.scoring import Opinion

ODD = 'a "b"\tc\nd <e> & é --> f'
LABELS = ["angry", ODD]
SPEAKERS = ["s 1", 'Ünal "U" <x>']

Turn = tuple[str, str | None, float, float, int]
TURNS: list[Turn] = [
    ("talk.wav", SPEAKERS[0], 0.5, 2.0, 0),
    ("talk.wav", SPEAKERS[1], 1.5, 3.25, 1),
    ("talk.wav", SPEAKERS[0], 2.0, 2.5, 1),
    ("talk.wav", SPEAKERS[0], 4.0, 6.0, 0),
    ("talk.wav", SPEAKERS[0], 5.0, 6.5, 1),  # over the one before
]


def export(folder: Path, turns: list[Turn], *wanted: str, **options: Any) -> None:
    chosen = PredictOptions(export=wanted, export_folder=folder, **options)
    maker = RowMaker({"": LABELS})
    items = [
        Utterance(id=str(number), audio=file, speaker=speaker, start=start, duration=end - start)
        for number, (file, speaker, start, end, _) in enumerate(turns)
    ]
    with open_results(chosen, folder / "rows.jsonl", maker, items) as results:
        for item, turn in zip(items, turns, strict=True):
            shares = np.array([[0.75, 0.25]])[:, :: 1 if turn[4] == 0 else -1]
            for one in results.rows:
                one.add(item, maker.rows_of(item, Opinion(turn[3] - turn[2], None, shares)))


def marks_of(speaker: str) -> list[tuple[float, float, str]]:
    return [(start, end, LABELS[place]) for _, who, start, end, place in TURNS if who == speaker]


TIERS = {SPEAKERS[0]: marks_of(SPEAKERS[0])[:3], SPEAKERS[1]: marks_of(SPEAKERS[1])}
TIERS[f"{SPEAKERS[0]} (2)"] = marks_of(SPEAKERS[0])[3:]


def test_praat_reads_textgrids(tmp_path: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    export(tmp_path, TURNS, "textgrid")
    grid = parselmouth.read(str(tmp_path / "talk.TextGrid"))
    assert (grid.xmin, grid.xmax) == (0, 6.5)
    call = parselmouth.praat.call
    found: dict[str, list[tuple[float, float, str]]] = {}
    for tier in range(1, call(grid, "Get number of tiers") + 1):
        name = call(grid, "Get tier name", tier)
        for place in range(1, call(grid, "Get number of intervals", tier) + 1):
            if text := call(grid, "Get label of interval", tier, place):
                start = call(grid, "Get start time of interval", tier, place)
                end = call(grid, "Get end time of interval", tier, place)
                found.setdefault(name, []).append((start, end, text))
    assert found == {name: [(s, e, text) for s, e, text in marks] for name, marks in TIERS.items()}


def test_textgrids_end_with_the_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", np.zeros(64_000), 8_000)
    export(tmp_path, [(str(tmp_path / "talk.wav"), "s", 0.5, 2.0, 0)], "textgrid")
    text = (tmp_path / "talk.TextGrid").read_text()
    assert "\nxmax = 8.000000\n" in text and "intervals: size = 3" in text


def test_recordings_of_one_name_are_told_apart_in_rttm(tmp_path: Path) -> None:
    export(tmp_path, [(f"{folder}/x.wav", None, 0.0, 2.0, 0) for folder in "ab"], str(tmp_path / "all.rttm"))
    lines = (tmp_path / "all.rttm").read_text().splitlines()
    assert [line.split(" ")[1] for line in lines] == ["a_x", "b_x"]


def test_textgrids_have_no_gaps(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("textgrid")
    plain = [(file, speaker, start, end, 0) for file, speaker, start, end, _ in TURNS]
    export(tmp_path, plain, "textgrid")
    grid = textgrid.TextGrid.fromFile(str(tmp_path / "talk.TextGrid"))
    for tier in grid:
        edges = [edge for interval in tier for edge in (interval.minTime, interval.maxTime)]
        assert edges[0] == 0 and edges[-1] == 6.5 and edges[1:-1:2] == edges[2:-1:2]


def test_elan_reads_eaf(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    export(tmp_path, TURNS, "elan")
    document = pympi.Elan.Eaf(str(tmp_path / "talk.eaf"))
    for name, marks in TIERS.items():
        found = sorted(entry[:3] for entry in document.get_annotation_data_for_tier(name))
        # XML has no tabs and ends of lines in attributes, but in text they stay
        assert found == [(round(1000 * start), round(1000 * end), label) for start, end, label in marks]
    assert document.media_descriptors[0]["MEDIA_URL"] == (Path.cwd() / "talk.wav").as_uri()


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


ONE_LINE = 'a "b" c d <e> & é --> f'


def test_subtitles_are_in_the_order_of_time(tmp_path: Path) -> None:
    srt, webvtt = pytest.importorskip("srt"), pytest.importorskip("webvtt")
    export(tmp_path, TURNS, "srt,vtt")
    texts = [(start, end, [LABELS[0], ONE_LINE][place], speaker) for _, speaker, start, end, place in sorted(
        TURNS, key=lambda turn: turn[2:4])]  # fmt: skip
    found = list(srt.parse((tmp_path / "talk.srt").read_text()))
    assert [(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in found] == [
        (start, end, f"{speaker}: {text}") for start, end, text, speaker in texts
    ]
    cues = webvtt.read(str(tmp_path / "talk.vtt")).captions
    times = [(_seconds(cue.start), _seconds(cue.end)) for cue in cues]
    assert times == [(start, end) for start, end, _, _ in texts]
    raw = (tmp_path / "talk.vtt").read_text()
    assert "<v s 1>angry" in raw and 'a "b" c d &lt;e&gt; &amp; é --&gt; f' in raw


def test_rttm_is_read_by_pyannote(tmp_path: Path) -> None:
    pytest.importorskip("pyannote.core")
    from pyannote.core import Annotation, Segment

    export(
        tmp_path, [*TURNS, ("b/other talk.wav", None, 1.0, 2.0, 0)], "all.rttm".replace("all", str(tmp_path / "all"))
    )
    read: dict[str, Annotation] = {}
    for line in (tmp_path / "all.rttm").read_text().splitlines():
        kind, uri, channel, start, duration, ortho, label, name, confidence, rest = line.split(" ")
        assert (kind, channel, ortho, confidence, rest) == ("SPEAKER", "1", "<NA>", "0.750", "<NA>")
        annotation = read.setdefault(uri, Annotation(uri=uri))
        annotation[Segment(float(start), float(start) + float(duration)), len(annotation)] = (name, label)
    assert list(read) == ["talk", "other_talk"]
    assert {name for name, _ in read["talk"].labels()} == {"s_1", 'Ünal_"U"_<x>'}
    assert read["other_talk"].labels() == [("angry", "angry")]
    expected = [(start, end) for _, _, start, end, _ in TURNS]
    assert [(s.start, s.end) for s in read["talk"].itersegments()] == sorted(expected)


def test_audacity_has_three_fields_a_line(tmp_path: Path) -> None:
    export(tmp_path, TURNS, "audacity")
    lines = [line.split("\t") for line in (tmp_path / "talk.txt").read_text().splitlines()]
    assert all(len(line) == 3 for line in lines) and len(lines) == len(TURNS)
    assert [lines[0][0], lines[0][1], lines[0][2]] == ["0.500000", "2.000000", "s 1: angry"]


def test_every_recording_has_a_file_and_every_file_a_name() -> None:
    names = file_names(["a/x.wav", "b/x.wav", "y.mp3", "c/z.wav", "c/z.flac", "s3://b/w.wav", "../q/x.wav"])
    assert names == {
        "a/x.wav": "a_x",
        "b/x.wav": "b_x",
        "../q/x.wav": "q_x",
        "y.mp3": "y",
        "c/z.wav": "c_z.wav",
        "c/z.flac": "c_z.flac",
        "s3://b/w.wav": "w",
    }
    assert len({*file_names(["x.wav", "/x.wav", "./x.wav", "X.wav"]).values()}) == 4
    assert len({*file_names(["a/x.wav", "a_x.wav", "b/x.wav", "x.wav", "x (2).wav", "./x.wav"]).values()}) == 6
    long = file_names([f"{folder}/{'é' * 150}.wav" for folder in "ab"]).values()
    assert len({*long}) == 2 and max(len(name.encode()) for name in long) <= 204


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    (fault,) = export_faults(["srt", "talk.doc"])
    assert fault.startswith(
        "export is talk.doc, expected textgrid, elan, audacity, rttm, srt, vtt, or a file that ends"
    )
    two = [TURNS[0], ("other.wav", None, 0.0, 1.0, 0)]
    with pytest.raises(ConfigError, match="one file, and there are 2 recordings"):
        export(tmp_path, two, str(tmp_path / "talk.srt"))
    maker = RowMaker({"": ["valence"]}, values=[""])
    with (
        pytest.raises(ConfigError, match="export is for classes"),
        open_results(PredictOptions(export=("srt",)), tmp_path / "t.csv", maker, []),
    ):
        pass


def test_a_recording_that_cannot_be_written_leaves_the_others(tmp_path: Path) -> None:
    maker, chosen = RowMaker({"": LABELS}), PredictOptions(export=("srt",), export_folder=tmp_path)
    items = [Utterance(id=name, audio=f"{name}.wav") for name in ("a", "b", "c")]
    (tmp_path / "b.srt").mkdir()
    with open_results(chosen, tmp_path / "t.csv", maker, items) as results:
        for item in items:
            for one in results.rows:
                one.add(item, maker.rows_of(item, Opinion(1.0, None, np.array([[0.75, 0.25]]))))
    assert sorted(path.name for path in tmp_path.glob("*.srt") if path.is_file()) == ["a.srt", "c.srt"]
    (fault,) = results.faults
    assert "its .srt cannot be written: Is a directory" in str(fault)
