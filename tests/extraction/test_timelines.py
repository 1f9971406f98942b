"""Pictures of recordings: what is drawn where, of which tables, under which names, and what is refused."""

from __future__ import annotations

import io
import re
import struct
import sys
import time
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import emotion2vec
from emotion2vec.cli import main
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError, StorageError
from emotion2vec.extraction.options import PredictOptions
from emotion2vec.extraction.results.outputs import open_results, output_faults
from emotion2vec.extraction.results.rows import RowMaker
from emotion2vec.extraction.results.timelines.layout import Dots, axis_of, clock
from emotion2vec.extraction.results.timelines.palette import FAMILIAR, LOOKS, looks_of
from emotion2vec.extraction.scoring import Opinion

matplotlib = pytest.importorskip("matplotlib")

LABELS = ["angry", "happy", "sad"]
SVG = "{http://www.w3.org/2000/svg}"

Turn = tuple[str, float, float, str, float]
"""Speaker, start, end, label and confidence."""

TURNS: list[Turn] = [
    ("anna", 1.0, 4.0, "angry", 1.0),
    ("bob", 3.0, 7.5, "sad", 0.0),  # over the end of anna's
    ("anna", 9.0, 14.0, "happy", 0.5),
    ("anna", 12.0, 16.0, "sad", 0.9),  # over her own
    ("bob", 18.0, 20.0, "happy", 0.25),
]


def write_csv(path: Path, turns: Sequence[Turn], file: str = "talk.wav") -> Path:
    rows = [(file, start, end, who, label, sure) for who, start, end, label, sure in turns]
    frame = pd.DataFrame(rows, columns=["file", "start", "end", "speaker", "label", "confidence"])
    frame[[f"score:{label}" for label in LABELS]] = 0.5
    frame.to_csv(path, index=False)
    return path


class Drawn:
    """An SVG, read: texts, and boxes by their labels, of which the legend's are left out; times are in s."""

    def __init__(self, svg: str, looks: Sequence[str] = LABELS):
        root = ET.fromstring(svg)
        self.size = [float(size) for size in root.attrib["viewBox"].split()[2:]]
        self.texts = [
            (float(text.attrib["x"]), float(text.attrib["y"]), "".join(text.itertext()))
            for text in root.iter(f"{SVG}text")
        ]
        ticks = [(x, float(words[:-2])) for x, _, words in self.texts if re.fullmatch(r"[\d.]+ s", words)]
        if len(ticks) > 1:
            self._slope, self._zero = np.polyfit(*zip(*ticks, strict=True), 1)
        below = min(y for _, y, words in self.texts if ".wav" in words)
        self.boxes: list[tuple[str, int, np.ndarray, str]] = []  # label, confidence in 20ths, box, fill
        for group in root.iter(f"{SVG}g"):
            if match := re.match(r"label-(\d+)-confidence-(\d+)|none", group.attrib.get("id", "")):
                path = group.find(f"{SVG}path")
                fill = re.search(r"fill: (#\w+)", path.attrib["style"])[1]
                for corners in re.findall(r"M ([^z]*)z", path.attrib["d"]):
                    points = np.array(corners.replace("L", " ").split(), float).reshape(-1, 2)
                    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
                    if box[1] > below:
                        name = "" if match[0] == "none" else looks[int(match[1])]
                        self.boxes.append((name, int(match[2] or 0), box, fill))

    def seconds(self, x: float) -> float:
        return self._slope * x + self._zero

    def y_of(self, words: str) -> float:
        return next(y for _, y, text in self.texts if text == words)


def drawn(path: Path, looks: Sequence[str] = LABELS) -> Drawn:
    return Drawn(path.read_text(), looks)


def test_every_turn_is_where_and_when_it_was(tmp_path: Path) -> None:
    emotion2vec.timelines(write_csv(tmp_path / "t.csv", TURNS)).save(tmp_path / "t.svg")
    found = drawn(tmp_path / "t.svg")
    assert len(found.boxes) == len(TURNS)
    middle = (found.y_of("anna") + found.y_of("bob")) / 2
    for label, _, (left, top, right, bottom), _ in found.boxes:
        who = "anna" if (top + bottom) / 2 < middle else "bob"
        (turn,) = (one for one in TURNS if one[0] == who and abs(one[1] - found.seconds(left)) < 0.03)
        assert turn[3] == label and abs(turn[2] - found.seconds(right)) < 0.03
    rows = {(label, round(box[1])) for label, _, box, _ in found.boxes if (box[1] + box[3]) / 2 < middle}
    tops = {label: top for label, top in rows}
    assert tops["angry"] == tops["happy"] != tops["sad"]  # what overlaps itself lies in two lanes


def luminance(colour: str) -> float:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_confidence_is_intensity_from_0_to_1(tmp_path: Path) -> None:
    turns = [("a", 2.0 * n, 2.0 * n + 1.5, label, n / 10) for label in LABELS for n in range(11)]
    turns = [(who + label, *rest, label, sure) for who, *rest, label, sure in turns]  # type: ignore[misc]
    emotion2vec.timelines(write_csv(tmp_path / "t.csv", turns)).save(tmp_path / "t.svg")
    for label in LABELS:
        shades = {level: luminance(fill) for name, level, _, fill in drawn(tmp_path / "t.svg").boxes if name == label}
        assert sorted(shades) == list(range(0, 21, 2))
        assert sorted(shades.values(), reverse=True) == [shades[level] for level in sorted(shades)]
        assert shades[0] < 0.97 and shades[0] - shades[20] > 0.1  # seen on white, and told from the full colour
        full = next(fill for name, level, _, fill in drawn(tmp_path / "t.svg").boxes if (name, level) == (label, 20))
        assert full in {matplotlib.colors.to_hex(colour) for colour in matplotlib.color_sequences["okabe_ito"]}


def test_colours_are_those_of_okabe_and_ito_and_hatches_tell_them_apart_in_grey() -> None:
    known = {matplotlib.colors.to_hex(colour) for colour in matplotlib.color_sequences["okabe_ito"]}
    ours = [matplotlib.colors.to_hex(look.colour) for look in LOOKS]
    assert len(set(ours)) == len(set(hatch for _, hatch in LOOKS)) == len(LOOKS)
    assert len(known & set(ours)) == 7
    for labels in (["sad", "angry"], ["neutral", "x", "anger", "sadness"], [f"label {n}" for n in range(30)]):
        looks = looks_of(labels)
        assert len(set(looks)) == len(labels)
        for label, look in zip(labels, looks, strict=True):
            if label[:3] in FAMILIAR:
                assert look == LOOKS[FAMILIAR.index(label[:3])]  # whatever the other labels are


def test_a_recording_of_hours_is_drawn_in_seconds_on_a_sheet_that_can_be_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    starts = np.cumsum(random.uniform(0.6, 1.6, 10_000))
    turns = [
        ("ab"[n % 2], start, start + 0.6, LABELS[random.integers(3)], float(random.random()))
        for n, start in enumerate(starts.tolist())
    ]
    table = write_csv(tmp_path / "t.csv", turns)
    begun = time.process_time()
    emotion2vec.timelines(table).save(tmp_path / "t.svg")
    assert time.process_time() - begun < 30
    found = drawn(tmp_path / "t.svg")
    assert (tmp_path / "t.svg").stat().st_size < 4_000_000
    assert found.size[0] == 9 * 72 and found.size[1] < 26 * 72
    assert sum(words == "a" for _, _, words in found.texts) > 10  # lines of time, each with its speakers
    widths = [box[2] - box[0] for _, _, box, _ in found.boxes]
    assert min(widths) > 0.3 and len(widths) >= 10_000  # each turn is there, those that a line's end cuts twice


def test_windows_too_short_to_be_seen_are_dots_of_what_they_mostly_say() -> None:
    spans = np.array([[0.0, 0.1], [0.1, 0.2], [0.2, 0.3], [1.0, 3.0], [3.05, 3.05]])
    labels, confidence = np.array([2, 1, 2, 0, 1]), np.array([0.4, 1.0, 0.8, 0.5, np.nan])
    found, names, sure = Dots(0.0, 10.0, 1.0).labels(spans, labels, confidence)
    assert found.tolist() == [[1.0, 3.0], [0.0, 1.0], [3.0, 4.0]] and names.tolist() == [0, 2, 1]
    assert sure[:2] == pytest.approx([0.5, 0.6]) and np.isnan(sure[2])
    found, means = Dots(0.0, 10.0, 1.0).values(spans, np.array([[1.0], [2], [6], [5], [4]]))
    assert found.tolist() == [[0.0, 1.0], [1.0, 3.0], [3.0, 4.0]] and means.ravel().tolist() == [3, 5, 4]
    lines = [Dots(start, 1.5, 1.0, start == 1.5) for start in (0.0, 1.5)]
    edges = np.array([[1.4, 1.5], [1.4, 1.7], [0.0, 3.0], [3.0, 3.0], [0.0, 0.0]])
    assert [line.inside(edges).tolist() for line in lines] == [[1, 0, 1, 0, 1], [0, 1, 1, 1, 0]]


@pytest.mark.parametrize("seconds", [0.5, 30, 500, 20_000, 1e6, 1e9])
@pytest.mark.parametrize("turn", [0.02, 2.0])
def test_lines_hold_all_of_any_recording(seconds: float, turn: float) -> None:
    spans = np.array([[seconds * share, min(seconds, seconds * share + turn)] for share in (0, 0.3, 0.9)])
    axis = axis_of(spans, 7.0, 0.7)
    assert axis.lines * 0.7 <= 25 and axis.begin == 0
    assert axis.begin + axis.lines * axis.length >= spans.max() - 1e-9 * seconds
    assert axis.begin + (axis.lines - 1) * axis.length < spans.max()
    for start in axis.starts()[:2]:
        ticks = axis.ticks(start)
        assert 1 <= len(ticks) <= 12 and all(start - 1e-6 <= tick <= start + axis.length + 1e-6 for tick in ticks)
    late = axis_of(spans + 9 * seconds, 7.0, 0.7)
    assert 0 < late.begin <= 9 * seconds  # what lies late needs no empty lines


def test_times_are_written_as_clocks_show_them() -> None:
    times = [(65.0, 5.0), (3605.0, 5.0), (65.5, 0.5)]
    assert [clock(*one, long=True) for one in times] == ["1:05", "1:00:05", "1:05.5"]
    assert [clock(*one, long=False) for one in [(65.0, 5.0), (0.5, 0.5)]] == ["65", "0.5"]


def test_values_are_lines_on_their_scale(tmp_path: Path) -> None:
    rows = [
        ("t.wav", 2.0 * n, 2.0 * n + (2 if n < 3 else 1), "a", *values)
        for n, values in enumerate([(1, 5), (2, 4), (3, 3), (5, 1.5)])
    ]
    frame = pd.DataFrame(rows, columns=["file", "start", "end", "speaker", "score:arousal", "score:valence"])
    emotion2vec.timelines(frame).save(tmp_path / "t.svg")
    found = drawn(tmp_path / "t.svg")
    assert not found.boxes and {"arousal", "valence"} <= {words for _, _, words in found.texts}
    curves, across = [], []
    for path in ET.fromstring((tmp_path / "t.svg").read_text()).iter(f"{SVG}path"):
        pieces = [
            np.array(piece.replace("L", " ").split(), float).reshape(-1, 2)
            for piece in path.attrib["d"].split("M")[1:]
            if not set(piece) & set("CQz")
        ]
        if "stroke-width: 1.3" in path.attrib.get("style", "") and len(pieces[0]) > 2:
            curves.append((pieces, "dasharray" in path.attrib["style"]))
        if "stroke: #cccccc" in path.attrib.get("style", "") and pieces[0][0, 1] == pieces[0][1, 1]:
            across.append(pieces[0][0, 1])
    top, _, bottom = sorted(across)  # 5, 3 and 1
    assert [words for _, _, words in found.texts if words in "135"] == ["5", "3", "1"]
    assert [dashed for _, dashed in curves] == [False, True]  # told apart in grey
    for column, (pieces, _) in enumerate(curves, 4):
        levels = np.concatenate([1 + 4 * (bottom - piece[:, 1]) / (bottom - top) for piece in pieces])
        times = np.concatenate([found.seconds(piece[:, 0]) for piece in pieces])  # type: ignore[arg-type]
        points = np.unique(np.round(np.stack([times, levels], axis=1), 1), axis=0)
        assert points.tolist() == sorted([time, row[column]] for row in rows for time in row[1:3])
        assert len(pieces) == 1  # they follow each other
    holes = frame.assign(start=frame["start"] + [0, 0, 0, 0.5])
    emotion2vec.timelines(holes).save(tmp_path / "holes.svg")
    assert (tmp_path / "holes.svg").read_text().count("stroke-width: 1.3") == 4


def opinion(shares: list[float], seconds: float, window: float | None = None) -> Opinion:
    first = np.array(shares)[:, None]
    further = {"mood": np.array([[2.5, 4.0]] * len(shares)), "age": np.array([[0.5, 0.5]] * len(shares))}
    return Opinion(seconds, window, np.concatenate([first, 1 - first], axis=1), further)


MAKER = RowMaker({"": ["angry", "=sad"], "mood": ["arousal", "valence"], "age": ["old", "new"]}, 0.7, values=["mood"])
ITEMS = [
    Utterance(id="a", audio="x/a.wav", speaker="-s1", row={"note": "7"}),
    Utterance(id="b", audio="x/a.wav", speaker="s2", start=2.0, duration=1.0, channel=1),
    Utterance(id="c", audio="y/a.wav", start=5.0, duration=1.0),
]


def results(path: Path, **options: Any) -> list[Any]:
    chosen = PredictOptions(**options)
    assert output_faults(chosen, path) == []
    opinions = (opinion([0.9, 0.4, 0.2], 2.5, 1.0), opinion([1.0], 1.0), opinion([0.0], 1.0))
    with open_results(chosen, path, MAKER, ITEMS) as written:
        for item, said in zip(ITEMS, opinions, strict=True):
            for one in written.rows:
                one.add(item, MAKER.rows_of(item, said))
    return written.faults


def facts(found: Any) -> list[Any]:
    return [
        (
            *(one.file, one.name, one.labels, dict(one.values), track.name, track.spans.tolist()),
            *(track.labels.tolist(), np.round(track.confidence, 6).tolist(), track.values.tolist()),
        )
        for one in found
        for track in one.tracks
    ]


def test_every_kind_of_table_tells_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("csv", "tsv", "xlsx", "parquet", "jsonl"):
        results(tmp_path / f"t.{suffix}")
    expected = facts(emotion2vec.timelines(tmp_path / "t.jsonl"))
    assert expected[0][:3] == ("x/a.wav", "x_a", ("angry", "=sad"))
    assert expected[0][3:5] == ({"mood": ("arousal", "valence")}, "-s1")
    assert expected[0][5:] == ([[0, 1], [1, 2], [2, 2.5]], [0, -1, 1], [0.9, 0.6, 0.8], [[2.5, 4.0]] * 3)
    assert [one[4] for one in expected] == ["-s1", "s2", "emotion"]
    for suffix in ("csv", "tsv", "xlsx", "parquet"):
        found = emotion2vec.timelines(tmp_path / f"t.{suffix}")
        assert facts(found) == expected and found.faults == []
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    results(tmp_path / "german.csv", excel=True)
    assert facts(emotion2vec.timelines(tmp_path / "german.csv")) == expected
    assert facts(emotion2vec.timelines(pd.read_json(tmp_path / "t.jsonl", lines=True))) == expected
    frame = pd.read_parquet(tmp_path / "t.parquet")
    for name in ("start", "end"):
        frame[name] = pd.to_timedelta(frame[name], unit="s")
    assert facts(emotion2vec.timelines(frame.set_index(["file", "start", "end"]))) == expected
    assert facts(emotion2vec.timelines(tmp_path)) == expected  # the first of several tables of the same recordings


def test_a_job_draws_what_it_heard_one_picture_for_each_recording(tmp_path: Path) -> None:
    assert results(tmp_path / "t.jsonl", plot=tmp_path / "p") == []
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["x_a.png", "y_a.png"]
    assert results(tmp_path / "t.jsonl", plot=tmp_path / "all.svg") == []
    emotion2vec.timelines(tmp_path / "t.jsonl").save(tmp_path / "again.svg")
    assert (tmp_path / "all.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
    found = drawn(tmp_path / "all.svg", ["angry", "=sad"])
    assert sorted(label for label, *_ in found.boxes) == ["", "=sad", "=sad", "angry", "angry"]


def test_a_picture_that_cannot_be_drawn_costs_no_results(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("a file")
    (fault,) = {fault.reason for fault in results(tmp_path / "t.jsonl", plot=tmp_path / "p")}
    assert "cannot be drawn" in fault and (tmp_path / "t.jsonl").read_text().count("\n") == 5
    with pytest.raises(StorageError, match=r"p/x_a\.png: cannot be written"):
        emotion2vec.timelines(tmp_path / "t.jsonl").save(tmp_path / "p")


ODD = "<script>alert(1)</script> & $x^2$ \x07\n"


def test_every_format_is_itself_alone_and_names_are_text(tmp_path: Path) -> None:
    turns = [(ODD, start, end, label, sure) for _, start, end, label, sure in TURNS]
    frame = pd.read_csv(write_csv(tmp_path / "t.csv", turns, f"{ODD}.wav"))
    found = emotion2vec.timelines(frame)
    for suffix in ("png", "svg", "pdf", "html"):
        assert found.save(tmp_path / f"t.{suffix}") == [tmp_path / f"t.{suffix}"]
    head = (tmp_path / "t.png").read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:])
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and width == 1350 and 150 < height < 400
    shown = r"<script>alert(1)</script> & $x^2$ \x07"
    words = {words for _, _, words in drawn(tmp_path / "t.svg").texts}
    assert {f"{shown} .wav", f"{shown[:21]}…"} <= words
    for suffix in ("svg", "html"):
        text = (tmp_path / f"t.{suffix}").read_text()
        assert "<script" not in text
        for address in ("http", "src=", "url(", "@import", 'href="'):
            for place in re.finditer(re.escape(address), text):
                after = text[place.start() : place.start() + 40]
                assert re.match(r'http://www\.w3\.org/|url\(#|href="#', after), after
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")


def test_many_recordings_are_pages_or_files_and_not_one_picture(tmp_path: Path) -> None:
    rows = [(f"{n}/clip.wav", 0.0, 5.0, "x", "sad", 0.5) for n in range(20)]
    frame = pd.DataFrame(rows, columns=["file", "start", "end", "speaker", "label", "confidence"])
    found = emotion2vec.timelines(frame)
    found.save(tmp_path / "t.pdf")
    assert len(re.findall(rb"/Type /Page\b", (tmp_path / "t.pdf").read_bytes())) == 2
    found.save(tmp_path / "t.svg")
    assert sum(".wav" in words for _, _, words in drawn(tmp_path / "t.svg").texts) == 20
    long = pd.concat([frame.assign(file=f"{n}.wav", start=0.5 * n, end=1000.0 * n + 1) for n in range(250)])
    with pytest.raises(ConfigError, match=r"t\.svg, which is one page, and 250 recordings .* \.html or a folder"):
        emotion2vec.timelines(long).save(tmp_path / "t.svg")
    files = found[:3].save(tmp_path / "new" / "folder", "svg")
    assert [path.name for path in files] == ["0_clip.svg", "1_clip.svg", "2_clip.svg"]


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    names = [
        "../up.wav",
        "/abs/up.wav",
        "..",
        "a\\..\\..\\b.wav",
        "s3://x/b.wav",
        "é" * 200 + ".wav",
        "\0.wav",
        "A.wav",
    ]
    names += ["a.wav", "b/a.wav", "a (2).wav", "\udce9.wav", "\ud800.wav", ".", "x/é" + "é" * 199 + ".wav"]
    files = pd.Series(names, dtype=object)  # half a character is no text of Arrow
    frame = pd.DataFrame({"file": files, "start": 0.0, "end": 1.0, "label": "sad"})
    files = emotion2vec.timelines(frame).save(tmp_path / "deep" / "in", "svg")
    assert len({str(path).casefold() for path in files}) == len(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
    assert all(path.parent == tmp_path / "deep" / "in" and path.is_file() for path in files)


def test_a_speaker_that_many_share_and_many_speakers_are_bounded(tmp_path: Path) -> None:
    rows = [("t.wav", 0.0, 5.0, f"s{n:03}", "sad", 0.5) for n in range(100)]
    rows += [("t.wav", 0.0, 5.0, "s000", "sad", 0.5)] * 50
    frame = pd.DataFrame(rows, columns=["file", "start", "end", "speaker", "label", "confidence"])
    emotion2vec.timelines(frame).save(tmp_path / "t.svg")
    found = drawn(tmp_path / "t.svg", ["sad"])
    assert any(words.endswith("… and 40 more speakers") for _, _, words in found.texts)
    assert len({round(box[1], 1) for *_, box, _ in found.boxes}) == 60 + 5  # six lanes at most


def test_a_notebook_shows_the_first_of_it_and_one_line(tmp_path: Path) -> None:
    turns = [("a", 1.0 * n, n + 0.9, LABELS[n % 3], 0.5) for n in range(4000)]
    found = emotion2vec.timelines(write_csv(tmp_path / "t.csv", turns, "a<b.wav"))
    assert repr(found) == "Timelines of a<b.wav (67 min, 1 speakers)"
    html = found._repr_html_()
    assert html.startswith("<svg") and "a&lt;b.wav" in html and "a<b" not in html and len(html) < 700_000
    assert "more lines" in html
    rows = [(f"{n}.wav", 0.0, 5.0, "sad") for n in range(60)]
    found = emotion2vec.timelines(pd.DataFrame(rows, columns=["file", "start", "end", "label"]))
    assert repr(found) == "Timelines of 0.wav, 1.wav, 2.wav, 3.wav, 4.wav and 55 more (300 s, 1 speakers)"
    assert re.search(r"… and \d+ more recordings</p>$", found._repr_html_())


def refused(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ManifestError, ConfigError)) as caught:
        emotion2vec.timelines(path)
    return str(caught.value)


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    assert "t.csv: has no column start and no column end, expected" in refused(tmp_path / "t.csv", "file,label\na,b\n")
    assert "no row that can be drawn: " in refused(tmp_path / "t.csv", "file,start,end,label\na,x,2,b\n")
    assert "it has no rows" in refused(tmp_path / "t.csv", "file,start,end,label\n")
    assert "expected a table of results, which ends in .csv" in refused(tmp_path / "t.txt", "x")
    for name in ("t.xlsx", "t.parquet"):
        assert f"{name}: cannot be read" in refused(tmp_path / name, b"PK\x03\x04 nothing")
    with pytest.raises(ManifestError, match="no such file, expected a table"):
        emotion2vec.timelines(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="holds no table of results"):
        (tmp_path / "empty").mkdir()
        emotion2vec.timelines(tmp_path / "empty")
    with pytest.raises(ManifestError, match="the results are a list, expected a data frame"):
        emotion2vec.timelines([1])  # type: ignore[arg-type]
    frame = pd.DataFrame({"file": ["a.wav"], "start": [0.0], "end": [1.0], "label": ["sad"]})
    with pytest.raises(ConfigError, match="format is 'gif', expected one of png, svg, pdf, html"):
        emotion2vec.timelines(frame).save(tmp_path / "out", "gif")
    with pytest.raises(ConfigError, match=r"output is .*x\.csv, expected a name that ends in \.png, .*, or a folder"):
        emotion2vec.timelines(frame).save(tmp_path / "x.csv")
    with pytest.raises(ConfigError, match=r"output is .*x\.svg and format pdf, expected one of them, or a folder"):
        emotion2vec.timelines(frame).save(tmp_path / "x.svg", "pdf")


def test_bad_rows_are_left_out_and_told(tmp_path: Path) -> None:
    rows = ["file,start,end,label,confidence", "a.wav,0,1,sad,0.5", "a.wav,x,1,sad,0.5", "a.wav,3,2,sad,0.5"]
    rows += ["a.wav,1,2,sad,85", "a.wav,1,,sad,0.5", "a.wav,nan,2,sad,0.5", "a.wav,0,1e12,sad,1", "a.wav,2,3,,"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    found = emotion2vec.timelines(tmp_path / "t.csv")
    assert found[0].tracks[0].spans.tolist() == [[0, 1], [2, 3]]
    assert [str(fault).replace(str(tmp_path), "") for fault in found.faults] == [
        "/t.csv:3: start is 'x', expected a number",
        "/t.csv:4: the duration is -1.0, expected seconds, 0 to 1e+09",
        "/t.csv:5: the confidence is 85, expected 0 to 1",
        "/t.csv:6: file, start or end is empty, expected all three",
        "/t.csv:7: start is 'nan', expected a number",
        "/t.csv:8: the duration is 1000000000000.0, expected seconds, 0 to 1e+09",
    ]


def test_the_verb_draws_tables_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["emotion2vec", "plot", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    table = write_csv(tmp_path / "t.csv", TURNS)
    assert run(str(table)) == 0 and capsys.readouterr().out == f"{tmp_path / 't.html'}\n"
    assert run(str(tmp_path), "--output", str(tmp_path / "p"), "--format", "svg") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'p' / 'talk.svg'}\n" and drawn(tmp_path / "p" / "talk.svg").boxes
    (tmp_path / "~$t.xlsx").write_bytes(b"open in a spreadsheet")
    for name in ("v.1", "v.2"):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "t.csv", TURNS)
    monkeypatch.chdir(tmp_path / "v.1")
    assert [run(str(one)) for one in (tmp_path, Path("."), Path("../v.2"))] == [0, 0, 0]
    places = [tmp_path.parent / f"{tmp_path.name}.html", tmp_path / "v.1.html", tmp_path / "v.2.html"]
    assert capsys.readouterr().out.splitlines() == list(map(str, places)) and all(map(Path.is_file, places))
    with table.open("a") as stream:
        stream.write("talk.wav,x,2,anna,sad,1,0,0,1\n")
    assert run(str(table)) == 1
    assert "1 rows that could not be drawn:\n  " in (said := capsys.readouterr().err) and "t.csv:7: start" in said
    assert run(str(tmp_path / "none.csv")) == 2 and "no such file" in capsys.readouterr().err
    assert run(str(tmp_path / "none")) == 2 and "expected a table of `emotion2vec predict`" in capsys.readouterr().err


def test_tables_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    results(tmp_path / "t.xlsx")
    with zipfile.ZipFile(tmp_path / "t.xlsx") as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["xl/worksheets/sheet1.xml"] += b" " * (1 << 27)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)
    assert "that unpack to" in refused(tmp_path / "bomb.xlsx", packed.getvalue())
    rows = 5_000_000
    texts = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["a" * 1000])
    table = pa.table({"file": texts, "start": np.zeros(rows), "end": np.ones(rows)})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd")
    assert "that unpack to" in refused(tmp_path / "bomb.parquet", (tmp_path / "bomb.parquet").read_bytes())
