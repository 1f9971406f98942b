"""Tables of results in every format, their summaries, and what spreadsheets and data frames make of them."""

from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import rows_of

from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import PredictOptions
from emotion2vec.extraction.results.annotations.export import Exported
from emotion2vec.extraction.results.outputs import open_results, output_faults
from emotion2vec.extraction.results.rows import Columns, RowMaker
from emotion2vec.extraction.results.summary import Summary
from emotion2vec.extraction.results.timelines.job import Pictures
from emotion2vec.extraction.scoring import Opinion
from emotion2vec.extraction.writers.spreadsheets import decimal_mark, open_table

LABELS = ["angry", "sad"]
MAKER = RowMaker({"": LABELS, "age": ["young", "old"], "level": ["dB"]}, abstain=0.7, values=["level"])


def opinion(shares: list[float], seconds: float, window: float | None = None) -> Opinion:
    first = np.array(shares)[:, None]
    further = {"age": np.array([[0.25, 0.75]] * len(shares)), "level": np.array([[-3.5]] * len(shares))}
    return Opinion(seconds, window, np.concatenate([first, 1 - first], axis=1), further)


ITEMS = [
    Utterance(id="a", audio="a.wav", speaker="s1", row={"emotion": "=sad", "age": "7", "note": "ä, b"}),
    Utterance(id="b", audio="b.wav", start=2.0, duration=1.0, channel=1, row={"label": "x", "score:sad": "0,1"}),
]


def write(path: Path, items: list[Utterance] = ITEMS, **options: Any) -> None:
    chosen = PredictOptions(**options)
    assert output_faults(chosen, path) == []
    with open_results(chosen, path, MAKER, items) as written:
        for item, said in zip(items, (opinion([0.9, 0.4, 0.2], 2.5, 1.0), opinion([0.5], 1.0)), strict=True):
            for one in written.rows:
                one.add(item, MAKER.rows_of(item, said))


COLUMNS = ["file", "start", "end", "speaker", "channel", "label", "confidence", "score:angry", "score:sad"]
COLUMNS += ["age:label", "age:young", "age:old", "level:dB"]
COLUMNS += ["emotion", "age", "note", "given_label", "given_score:sad"]


def test_every_format_holds_the_same_table(tmp_path: Path) -> None:
    for suffix in ("csv", "tsv", "xlsx", "parquet", "jsonl"):
        write(tmp_path / f"t.{suffix}")
    lines = pd.DataFrame(rows_of(tmp_path / "t.jsonl")).convert_dtypes()
    assert list(lines.columns) == COLUMNS
    assert lines["start"].tolist() == [0, 1, 2, 2] and lines["end"].tolist() == [1, 2, 2.5, 3]
    assert lines["label"].fillna("").tolist() == ["angry", "", "sad", ""]  # 0.6 and 0.5 are below 0.7
    assert lines["confidence"].tolist() == [0.9, 0.6, 0.8, 0.5]
    assert lines["age:label"].tolist() == ["old"] * 4 and lines["level:dB"].tolist() == [-3.5] * 4
    assert lines["given_label"].fillna("").tolist() == ["", "", "", "x"] and lines["emotion"][0] == "=sad"
    found = {
        "csv": pd.read_csv(tmp_path / "t.csv"),
        "tsv": pd.read_csv(tmp_path / "t.tsv", sep="\t", quoting=csv.QUOTE_NONE),
        "xlsx": pd.read_excel(tmp_path / "t.xlsx"),
        "parquet": pd.read_parquet(tmp_path / "t.parquet"),
    }
    for name, frame in found.items():
        guard = "'" if name in ("csv", "tsv") else ""
        expected = lines.assign(emotion=guard + lines["emotion"])
        expected["age"] = pd.to_numeric(expected["age"]) if name != "parquet" else expected["age"]
        for column in COLUMNS:
            known = expected[column].notna()
            assert (frame[column].notna() == known).all(), (name, column)
            values, wanted = frame[column][known].tolist(), expected[column][known].tolist()
            assert values == (pytest.approx(wanted) if isinstance(wanted[0], float) else wanted), (name, column)


def test_excel_gets_texts_and_never_formulas(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    items = [Utterance(id="a", audio="=1+1\x07.wav"), ITEMS[1]]
    write(tmp_path / "t.xlsx", items)
    sheet = openpyxl.load_workbook(tmp_path / "t.xlsx").active
    assert (sheet["A2"].value, sheet["A2"].data_type) == ("=1+1\\x07.wav", "s")
    assert sheet["B3"].data_type == "n" and sheet.freeze_panes == "A2"


@pytest.mark.parametrize(("locale", "mark"), [("de_DE.UTF-8", ","), ("en_US.UTF-8", "."), ("C", "."), ("", ".")])
def test_csv_for_excel_has_a_mark_and_the_separators_of_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str, mark: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.delenv("LC_NUMERIC", raising=False)
    monkeypatch.delenv("LANG", raising=False)
    assert decimal_mark() == mark
    write(tmp_path / "t.csv", excel=True)
    assert (tmp_path / "t.csv").read_bytes().startswith(b"\xef\xbb\xbffile")
    separator = ";" if mark == "," else ","
    frame = pd.read_csv(tmp_path / "t.csv", sep=separator, decimal=mark)
    assert frame["confidence"].tolist() == [0.9, 0.6, 0.8, 0.5] and frame["note"][0] == "ä, b"
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"")
    found = read_manifest(tmp_path / "t.csv").utterances  # ours read it too, decimal commas included
    assert [(item.start, item.duration) for item in found] == [(0, 1), (1, 1), (2, 0.5), (2, 1)]


def test_what_a_format_cannot_hold_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = Columns(MAKER, ITEMS)
    table = open_table(tmp_path / "t.tsv", ".tsv", columns.kinds)
    (row,) = MAKER.rows_of(Utterance(id="a", audio="a\tb.wav"), opinion([0.9], 1.0))
    with pytest.raises(ValueError, match=r"file is 'a\\tb\.wav', which a \.tsv cannot hold"):
        table.add(columns.cells(row))
    table.close()
    monkeypatch.setattr("emotion2vec.extraction.writers.spreadsheets.SHEET_ROWS", 2)
    sheet = open_table(tmp_path / "t.xlsx", ".xlsx", columns.kinds)
    sheet.add(columns.cells(row))
    with pytest.raises(ValueError, match=r"an \.xlsx holds 2 rows and is full"):
        sheet.add(columns.cells(row))
    sheet.close()
    assert len(pd.read_excel(tmp_path / "t.xlsx")) == 1


def test_an_interrupt_keeps_what_is_there(tmp_path: Path) -> None:
    for suffix in ("csv", "xlsx", "parquet", "jsonl"):
        path, chosen = tmp_path / f"t.{suffix}", PredictOptions(summary=Path(".tsv"))
        with pytest.raises(KeyboardInterrupt), open_results(chosen, path, MAKER, ITEMS) as written:
            for one in written.rows:
                one.add(ITEMS[0], MAKER.rows_of(ITEMS[0], opinion([0.9], 1.0)))
            raise KeyboardInterrupt
        with pytest.raises(RuntimeError), open_results(PredictOptions(), tmp_path / "not.csv", MAKER, ITEMS):
            raise RuntimeError
    readers = {"csv": pd.read_csv, "xlsx": pd.read_excel, "parquet": pd.read_parquet}
    assert [len(read(tmp_path / f"t.{suffix}")) for suffix, read in readers.items()] == [1, 1, 1]
    assert len(rows_of(tmp_path / "t.jsonl")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "t.csv",
        "t.jsonl",
        "t.parquet",
        "t.summary.tsv",
        "t.xlsx",
    ]


def test_a_summary_is_what_pandas_makes_of_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maker, items, said = RowMaker({"": LABELS}, abstain=0.55), [], []
    for number in range(40):
        file, speaker = f"r{number % 3}.wav", [None, "s1", "s2"][rng.integers(3)]
        items.append(Utterance(id=str(number), audio=file, start=float(40 - number), duration=1.5, speaker=speaker))
        said.append(Opinion(1.5, 1.0, (first := rng.uniform(0, 1, (2, 1))).repeat(2, 1) * [1, -1] + [0, 1]))
        assert first.shape == (2, 1)
    with open_results(PredictOptions(summary=tmp_path / "s.csv"), tmp_path / "t.csv", maker, items) as written:
        for item, one in zip(items, said, strict=True):
            for sink in written.rows:
                sink.add(item, maker.rows_of(item, one))
    table = pd.read_csv(tmp_path / "t.csv")
    table["seconds"] = table["end"] - table["start"]
    found = pd.read_csv(tmp_path / "s.csv").set_index(["of", "file", "speaker"])
    groups = {"recording": ["file"], "speaker": ["speaker"], "speaker in recording": ["file", "speaker"]}
    count = 0
    for of, keys in groups.items():
        for values, rows in table.groupby(keys):
            named = dict(zip(keys, values, strict=True))
            row = found.loc[[(of, named.get("file", np.nan), named.get("speaker", np.nan))]].iloc[0]
            total = rows["seconds"].sum()
            assert (row["rows"], row["seconds"]) == (len(rows), pytest.approx(total))
            for label in LABELS:
                share = rows.loc[rows["label"] == label, "seconds"].sum() / total
                mean = np.average(rows[f"score:{label}"], weights=rows["seconds"])
                assert (row[f"share:{label}"], row[f"mean:{label}"]) == pytest.approx((share, mean), abs=1e-5)
            assert row["unlabelled"] == pytest.approx(rows.loc[rows["label"].isna(), "seconds"].sum() / total, abs=1e-5)
            labelled = rows.dropna(subset="label").sort_values("start", kind="stable")
            voices = labelled.fillna({"speaker": ""}).groupby(["file", "speaker"])["label"]
            assert row["changes"] == sum(int((one != one.shift()).sum()) - 1 for _, one in voices)
            count += 1
    assert count == len(found) == 3 + 2 + 6


@pytest.mark.parametrize(
    ("options", "output", "message"),
    [
        ({}, "t.txt", "output is t.txt, expected a name that ends in .csv, .tsv, .jsonl, .xlsx or .parquet"),
        ({"summary": Path("s.doc")}, "t.csv", "summary is s.doc, expected a name that ends in"),
        ({"summary": Path(".csv")}, None, "summary is .csv, which is beside the output: expected an output, or a file"),
        ({"excel": True}, "t.xlsx", "excel is about .csv and .tsv"),
        ({"excel": True}, None, "excel is about .csv and .tsv"),
    ],
)
def test_outputs_that_cannot_be(options: dict[str, Any], output: str | None, message: str) -> None:
    (fault,) = output_faults(PredictOptions(**options), None if output is None else Path(output))
    assert message in fault


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.extraction.writers.spreadsheets.find_spec", lambda name: None)
    (fault,) = output_faults(PredictOptions(), Path("t.xlsx"))
    assert fault == "output t.xlsx needs the package openpyxl: pip install 'emotion2vec[excel]'"


def test_a_full_disk_ends_the_job(tmp_path: Path) -> None:
    table = open_table(Path("/dev/full"), ".jsonl", {"a": str})
    with pytest.raises(ConfigError, match="nothing more can be written: No space left"):
        table.add(["x"])


@pytest.mark.parametrize("part", ["annotations", "pictures", "summary"])
def test_what_fails_beside_the_table_does_not_cost_it(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, name = {
        "annotations": (Exported, "write"),
        "pictures": (Pictures, "write"),
        "summary": (Summary, "rows"),
    }[part]
    monkeypatch.setattr(owner, name, fail)
    more = {"export": ("srt",), "export_folder": tmp_path / "a", "plot": tmp_path / "p", "summary": tmp_path / "s.csv"}
    with pytest.raises((OSError, ConfigError), match="No space left"):
        write(tmp_path / "t.csv", **more)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 5
