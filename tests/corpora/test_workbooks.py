"""Tables in .xlsx: the same clips as the CSV that pandas makes of them, whatever the cells are, within bounds."""

from __future__ import annotations

import datetime
import time
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.corpora.lists.workbooks import read_workbook
from emotion2vec.corpora.prescribed import with_splits
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.sources.named import read_sources

openpyxl = pytest.importorskip("openpyxl")

SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
FRAME = pd.DataFrame(
    {
        "Datei": ["a.wav", "a.wav", "b.wav", "c.wav"],
        "Begin": [0.5, 1.25, None, 0.1 + 0.2],
        "Ende": [1.25, 2.0, None, 7.0],
        "Gefühl": ["Wut", "Ärger, groß", "sad", "1"],
        "Code": [7, 8, 9, 1_000_000],
        "Wer": ["p1", None, "p2", "p2"],
    }
)
NAMES = Names.of(["file=Datei,emotion=Gefühl,speaker=Wer"], ["angry=Wut"], keep=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def facts(clips: Any) -> list[tuple[Any, ...]]:
    return [(clip.id, clip.path.name, clip.start, clip.duration, clip.label, clip.speaker, clip.row) for clip in clips]


def test_a_workbook_is_the_csv_of_it(folder: Path) -> None:
    FRAME.to_excel(folder / "t.xlsx", index=False)
    FRAME.to_csv(folder / "t.csv", index=False, float_format="%.15g")
    for read in (read_manifest, read_table):
        assert facts(read(folder / "t.xlsx", names=NAMES).utterances) == facts(
            read(folder / "t.csv", names=NAMES).utterances
        )
    assert [clip.row["Code"] for clip in read_manifest(folder / "t.xlsx", names=NAMES).utterances][-1] == "1000000"
    found = read_sources(folder / "t.xlsx", columns=["file=Datei"])
    assert [item.start for item in found.utterances] == [0.5, 1.25, None, 0.3]


def test_cells_become_what_excel_writes_of_them(tmp_path: Path) -> None:
    cells = {
        "x": "x", "": None, "TRUE": True, "3": 3, "2.5": 2.5, "0.3": 0.1 + 0.2, "-1e-07": -1e-7, "007": "007",
        "2026-01-31": datetime.date(2026, 1, 31), "2026-01-31 13:30:05": datetime.datetime(2026, 1, 31, 13, 30, 5),
        "13:30:00": datetime.time(13, 30), "26:03:04": datetime.timedelta(hours=26, minutes=3, seconds=4),
        "zwei\nZeilen": "zwei\nZeilen", "#N/A": "#N/A", "last": "last",
    }  # fmt: skip
    book = openpyxl.Workbook()
    book.create_sheet("hidden", 0).sheet_state = "hidden"
    book["hidden"].append(["not", "this"])
    book.create_sheet("empty", 1)
    sheet = book["Sheet"]
    sheet.append([])
    sheet.append([f"column {number}" for number in range(len(cells))])
    sheet.append([])
    sheet.append(list(cells.values()))
    sheet.append(["short"])
    sheet.append([*cells.values(), "too long"])
    book.save(tmp_path / "t.xlsx")
    table = read_workbook(tmp_path / "t.xlsx")
    (number, record), (_, short) = table.records
    assert number == 4
    assert list(record.values()) == list(cells)
    assert short == {"column 0": "short"}
    assert [str(fault) for fault in table.faults] == [
        f"{tmp_path / 't.xlsx'}:6: the row has 16 fields and the header 15, expected a field for each column"
    ]


def test_splits_may_be_workbooks(folder: Path) -> None:
    (folder / "t.csv").write_text("file,label\na.wav,x\nb.wav,y\n")
    pd.DataFrame({"file": ["a.wav", "b.wav"], "fold": [1, 2]}).to_excel(folder / "split.xlsx", index=False)
    corpora = with_splits({"t": read_table(folder / "t.csv")}, folder / "split.xlsx")
    assert [clip.fold for clip in corpora["t"].utterances] == ["1", "2"]


def test_what_is_no_workbook_is_named(folder: Path) -> None:
    FRAME.to_excel(folder / "t.xlsx", index=False)
    raw = (folder / "t.xlsx").read_bytes()
    for name, content, reason in (
        ("text.xlsx", b"file,label\n", "no XLSX workbook"),
        ("cut.xlsx", raw[: len(raw) // 2], "no XLSX workbook"),
        ("xls.xlsx", b"\xd0\xcf\x11\xe0" + raw[4:100], "no XLSX workbook"),
        ("empty.xlsx", b"", "no XLSX workbook"),
    ):
        (folder / name).write_bytes(content)
        for read in (read_manifest, read_table):
            with pytest.raises(ManifestError, match=rf"{name}: cannot be read: .*{reason}"):
                read(folder / name)
    with zipfile.ZipFile(folder / "zip.xlsx", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ManifestError, match=r"zip.xlsx: cannot be read"):
        read_manifest(folder / "zip.xlsx")
    (folder / "t.csv").write_bytes(raw)
    with pytest.raises(
        ManifestError, match=r"t.csv: is an XLSX .*save it as CSV \(UTF-8\), or as XLSX under such a name"
    ):
        read_manifest(folder / "t.csv")
    book = openpyxl.Workbook()
    book.save(folder / "none.xlsx")
    with pytest.raises(ManifestError, match=r"none.xlsx: expected a header with a column 'file'"):
        read_manifest(folder / "none.xlsx")


def repacked(source: Path, target: Path, **parts: bytes) -> Path:
    """A workbook with other parts, each named by what its path ends in."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, parts.get(Path(name).stem, old.read(name)))
    return target


def sheet_of(rows: bytes) -> bytes:
    space = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return (
        b'<worksheet xmlns="'
        + space
        + b'"><dimension ref="A1:XFD1048576"/><sheetData>'
        + rows
        + b"</sheetData></worksheet>"
    )


HEADER = b'<row r="1"><c r="A1" t="inlineStr"><is><t>file</t></is></c></row>'
ENTITIES = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))
BOMB = b'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">' + ENTITIES + b"]>"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"sheet1": sheet_of(HEADER + b" " * (1 << 27))}, r"bytes that unpack to"),
        ({"sheet1": sheet_of(b"<row>" + b"<c/>" * 1_100_000 + b"</row>")}, r"sheets hold 1,100,0\d\d tags"),
        (
            {"styles": b"<styleSheet>" + b"<xf/>" * 300_000 + b"</styleSheet>"},
            r"beside its sheets hold 300,\d\d\d tags",
        ),
        ({"sheet1": BOMB + sheet_of(HEADER.replace(b"file", b"&a9;"))}, None),
        ({"sheet1": sheet_of(HEADER + b'<row r="999999999999"><c t="n"><v>1</v></c></row>')}, None),
        ({"sheet1": sheet_of(HEADER + b'<row><c r="XFD2"><v>1</v></c></row>' * 9000)}, r"more than 20,000,000 places"),
        ({"sheet1": sheet_of(HEADER + b'<row r="2"><c r="ZZZZZZZZ2"><v>1</v></c></row>')}, None),
    ],
)
def test_hostile_workbooks_end_soon_in_a_message(folder: Path, parts: dict[str, bytes], reason: str | None) -> None:
    FRAME.to_excel(folder / "t.xlsx", index=False)
    path = repacked(folder / "t.xlsx", folder / "bad.xlsx", **parts)
    started = time.process_time()
    with pytest.raises(ManifestError, match=rf"bad.xlsx: cannot be read: .*{reason}" if reason else "bad.xlsx"):
        read_manifest(path)
    assert time.process_time() - started < 10


def test_a_far_cell_and_a_size_that_is_none_do_no_harm(folder: Path) -> None:
    FRAME.to_excel(folder / "t.xlsx", index=False)
    rows = HEADER + b'<row r="900"><c r="A900" t="inlineStr"><is><t>a.wav</t></is></c><c r="XFD900"/></row>'
    table = read_workbook(repacked(folder / "t.xlsx", folder / "far.xlsx", sheet1=sheet_of(rows)))
    assert table.records == [(900, {"file": "a.wav"})]
