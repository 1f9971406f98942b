"""What users call columns and labels, decimal commas, Excel's encodings, and guesses at missing columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.tables import Extra, read_table
from emotion2vec.corpora.options import CorpusOptions, read_corpus
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.sources.named import read_sources
from emotion2vec.extraction.sources.objects import listed

NAMES = Names.of(["file=Datei,emotion=Gefühl", "speaker=Person,start=Beginn, end = Ende"], ["angry=Wut", "angry=Ärger"])
ROWS = {
    "Person": ["p1", "p1", "p2"],
    "Datei": ["a.wav", "a.wav", "b.wav"],
    "Beginn": [0.5, 1.25, None],
    "Ende": [1.25, 2.0, None],
    "Gefühl": ["Wut", "Ärger", "sad"],
    "Alter, Jahre": ["30", "30", "41"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("suffix", "separator", "decimal"), [
    ("csv", ",", "."), ("csv", ";", ","), ("csv", ";", "."), ("tsv", "\t", ","), ("txt", "\t", ","),
])  # fmt: skip
def test_tables_as_excel_saves_them(folder: Path, encoding: str, suffix: str, separator: str, decimal: str) -> None:
    table = folder / f"t.{suffix}"
    pd.DataFrame(ROWS).to_csv(table, sep=separator, decimal=decimal, encoding=encoding, index=False)
    labelled = read_table(table, names=NAMES).utterances
    found = read_manifest(table, names=NAMES).utterances
    for items in (labelled, tuple(found)):
        facts = [(item.label, item.speaker, item.start, item.duration) for item in items]
        assert facts == [("angry", "p1", 0.5, 0.75), ("angry", "p1", 1.25, 0.75), ("sad", "p2", None, None)]
    assert all(item.row == {} for item in (*labelled, *found))
    kept = read_sources(table, columns=["file=Datei,emotion=Gefühl,speaker=Person,start=Beginn,end=Ende"])
    assert [item.row for item in kept.utterances] == [
        {"Gefühl": label, "Alter, Jahre": age} for label, age in zip(ROWS["Gefühl"], ROWS["Alter, Jahre"], strict=True)
    ]


def test_texts_keep_their_commas(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("file;label;text;session;arousal\na.wav;1,5;2,5;3,5;4,5\nb.wav;x;y;z;0.5\n")
    clips = read_table(table, extra=Extra(values=["arousal"])).utterances
    assert (clips[0].label, clips[0].text, clips[0].session) == ("1,5", "2,5", "3,5")
    assert [clip.values["arousal"] for clip in clips] == [4.5, 0.5]
    table.write_text('file,label,arousal\na.wav,x,"4,5"\n')  # a comma is no decimal one where it separates
    with pytest.raises(ManifestError, match="arousal is '4,5', expected a number"):
        read_table(table, targets=["arousal"])


def test_a_name_of_the_users_comes_before_ours(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("file,path,label,mood,start\na.wav,b.wav,sad,happy,3\n")
    names = Names.of(["file=path", "emotion=mood", "start=START"])
    (clip,) = read_table(table, names=names).utterances
    assert (clip.path.name, clip.label, clip.start) == ("b.wav", "happy", 3)
    lines = folder / "t.jsonl"
    lines.write_text(json.dumps({"Pfad": "b.wav", "mood": "Wut", "label": "sad", "wav": "a.wav", "n": 3}) + "\n")
    found = read_sources(lines, columns=["file=Pfad,emotion=mood"], labels=["angry=Wut"]).utterances[0]
    assert (Path(found.audio).name, found.label, found.row["mood"], found.row["n"]) == ("b.wav", "angry", "angry", 3)


def test_names_that_cannot_be(folder: Path) -> None:
    with pytest.raises(ConfigError, match="columns has 'file', expected OURS=THEIRS, such as file=Datei; labels has"):
        Names.of(["file"], ["x="])
    with pytest.raises(ConfigError, match="columns has file twice"):
        Names.of(["file=a,file=b"])
    with pytest.raises(ConfigError, match="labels has Wut twice"):
        Names.of([], ["angry=Wut,sad=Wut"])
    table = folder / "t.csv"
    table.write_text("file,label\na.wav,x\n")
    for read in (read_manifest, read_table):
        with pytest.raises(ManifestError, match="columns names 'Datei', which it has not; it has the columns file"):
            read(table, names=Names.of(["file=Datei"]))
    with pytest.raises(ConfigError, match="columns and labels say what a table calls things, expected table"):
        read_corpus(CorpusOptions(dataset="emodb", root="x", columns=("file=a",)))


@pytest.mark.parametrize(
    ("header", "row", "hint"),
    [
        ("filename,emo", "a.wav,x", "--columns file=filename)"),
        ("Datei,Gefuehl", "a.wav,x", "--columns file=Datei,emotion=Gefuehl)"),
        ("wav_path,class", "a.wav,x", "--columns file=wav_path,emotion=class)"),
        ("no,xyz,label", "1,a.WAV,x", "--columns file=xyz)"),  # by what it holds
        ("no,xyz,label", "1,2,x", None),
    ],
)
def test_a_likely_column_is_proposed(folder: Path, header: str, row: str, hint: str | None) -> None:
    table = folder / "t.csv"
    table.write_text(f"{header}\n{row}\n")
    for read in (read_table, read_manifest):
        with pytest.raises(ManifestError) as caught:
            read(table)
        said = str(caught.value)
        if hint is None:
            assert "--columns" not in said
        elif read is read_table:
            assert said.endswith(hint)
        else:
            assert "--columns file=" in said and hint.split("file=")[1].split(",")[0].rstrip(")") in said


def test_a_header_in_another_encoding_is_refused(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_bytes("file;Gefühl\na.wav;x\n".encode("cp1252"))
    for read in (read_manifest, read_table):
        with pytest.raises(ManifestError, match=r"the header is not UTF-8 text .*in Excel: 'CSV UTF-8'"):
            read(table)


def test_plain_lists_of_files(folder: Path) -> None:
    (folder / "list.txt").write_text("a.wav\n\nb.wav\r\nabsent.wav\n")
    found = read_manifest(folder / "list.txt")
    assert [item.file for item in found.utterances] == ["a.wav", "b.wav"]
    assert [fault.where for fault in found.faults] == [f"{folder / 'list.txt'}:4"]


def test_every_verb_that_reads_tables_takes_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion2vec.data.cuts import load_cuts
    from emotion2vec.finetune.config import LabelledData
    from emotion2vec.finetune.labelled import read_corpora
    from emotion2vec.probe.benchmark.corpora import read_planned
    from emotion2vec.probe.benchmark.loading import load_plan

    sub = folder / "plans"
    sub.mkdir()
    table = sub / "t.csv"
    table.write_text("Datei,Gefuehl,Wer\n../a.wav,Wut,p\n../b.wav,froh,q\n")
    columns = ["file=Datei", "emotion=Gefuehl", "speaker=Wer"]
    wanted = [("a.wav", "angry", "p"), ("b.wav", "froh", "q")]

    def facts(clips: Any) -> list[tuple[str, str | None, str | None]]:
        return [(clip.path.name, clip.label, clip.speaker) for clip in clips]

    probed = read_corpus(CorpusOptions(table=table, columns=tuple(columns), labels=("angry=Wut",)))
    assert facts(probed.utterances) == wanted
    plan = sub / "plan.yaml"
    names = "{file: Datei, emotion: Gefuehl, speaker: Wer}"
    plan.write_text(f"corpora: [{{table: t.csv, columns: {names}, labels: {{Wut: angry}}}}]\nfeatures: [logmel]\n")
    monkeypatch.chdir(folder.parent)
    loaded = load_plan(plan, ["data=/nowhere"])  # a table is relative to its plan
    assert facts(read_planned(loaded, loaded.corpora[0]).utterances) == wanted
    tuned = read_corpora(LabelledData(table=str(table), columns=columns))
    assert facts(tuned["t"].utterances) == [("a.wav", "Wut", "p"), *wanted[1:]]
    with pytest.raises(ManifestError, match=r"2 of 2 entries|none of 2 entries"):  # found, and empty
        load_cuts([table], min_samples=400, max_bad_share=1.0, workers=0, names=Names.of(columns))


@pytest.mark.parametrize(
    "header",
    [
        "start,end", "Begin,Ende", "Beginn,Ende", "Anfang,ende", "begin,END_TIME", "onset,offset", "von,bis",
        "t0,t1", "tmin,tmax", "start_s,end_s", "offset,end", "inicio,fin", "debut,fin", "Startzeit,Endzeit",
    ],
)  # fmt: skip
def test_segments_are_told_by_both_of_their_ends(folder: Path, header: str) -> None:
    table, lines = folder / "t.csv", folder / "t.jsonl"
    first, second = header.split(",")
    table.write_text(f"{first},file,label,{second},note\n0.5,a.wav,x,1.25,n\n")
    lines.write_text(json.dumps({first: 0.5, "audio": "a.wav", "label": "x", second: 1.25, "note": "n"}) + "\n")
    for items in (read_table(table).utterances, read_manifest(table).utterances, read_manifest(lines).utterances):
        assert [(item.start, item.duration) for item in items] == [(0.5, 0.75)]
    (kept,) = read_sources(table).utterances
    assert kept.row == {"label": "x", "note": "n"}
    frame = pd.read_csv(table)
    (item,) = listed(frame, None, folder, Names.of(keep=True)).utterances
    assert (item.start, item.duration, item.row) == (0.5, 0.75, {"label": "x", "note": "n"})


@pytest.mark.parametrize(
    ("header", "row", "span"),
    [
        ("Beginn,Dauer", "0.5,0.75", (0.5, 0.75)),
        ("start,dauer", "0.5,0.75", (0.5, 0.75)),
        ("start,ende,dauer", "0.5,1.25,9", (0.5, 0.75)),  # of another name, and not needed
        ("start,beginn,end", "0.5,7,1.25", (0.5, 0.75)),  # ours come first
        ("Beginn", "0.5", (0.5, None)),
        ("Ende", "0.5", (0.0, 0.5)),
        ("to", "Anna", (None, None)),  # one of two words that mean other things too
        ("from,to", "Anna,Bob", (None, None)),
        ("Dauer", "2", (None, None)),
    ],
)
def test_which_columns_are_segments(folder: Path, header: str, row: str, span: tuple[float | None, ...]) -> None:
    table = folder / "t.csv"
    table.write_text(f"file,label,{header}\na.wav,x,{row}\n")
    (clip,) = read_table(table).utterances
    assert (clip.start, clip.duration) == span


@pytest.mark.parametrize(
    ("header", "told"),
    [("Begin,bis", "columns end=bis"), ("Beginn,to", "columns end=to"), ("von,Ende", "columns start=von")],
)
def test_half_a_segment_is_a_message(folder: Path, header: str, told: str) -> None:
    table, lines = folder / "t.csv", folder / "t.jsonl"
    table.write_text(f"file,label,{header}\na.wav,x,0.5,1.25\n")
    for read in (read_manifest, read_table):
        with pytest.raises(ManifestError, match=told):
            read(table)
    lines.write_text(json.dumps({"audio": "a.wav"} | dict.fromkeys(header.split(","), 0.5)) + "\n")
    with pytest.raises(ManifestError, match=told):
        read_manifest(lines)
    (clip,) = read_table(table, names=Names.of([told.removeprefix("columns ")])).utterances
    assert (clip.start, clip.duration) == (0.5, 0.75)


def test_names_that_nothing_has_are_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = folder / "t.csv"
    table.write_text("file,label\n" + "a.wav,Wut\nb.wav,Trauer\n")
    read_sources(table, labels=["angry=Wut,sad=traur,happy=Freude"])
    assert [record.getMessage() for record in caplog.records] == [
        "labels names 'traur', which nothing is called in what was read; did you mean Trauer?; "
        "labels names 'Freude', which nothing is called in what was read"
    ]
    corpus = read_corpus(CorpusOptions(table=table, labels=("sad=Traur",)))
    assert corpus.warnings == ("labels names 'Traur', which nothing is called in what was read; did you mean Trauer?",)
    caplog.clear()
    lines = folder / "t.jsonl"
    lines.write_text('{"wav": "a.wav", "Gefuhl": "Wut"}\n')
    read_sources(lines, columns=["emotion=Gefühl"])
    assert "columns names 'Gefühl', which nothing is called in what was read; did you mean gefuhl?" in caplog.text
    caplog.clear()
    read_sources(lines, columns=["emotion=Gefuhl"], labels=["angry=Wut"])
    assert not caplog.records
