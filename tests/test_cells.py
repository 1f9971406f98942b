"""Cells of tables that spreadsheets would take for formulas."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from emotion2vec.cells import guarded, unguarded
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.extraction.predict import predict

TEXTS = ["=1+1", "+1", "-rf", "@SUM(A1)", "\t=1", "\r=1", "\n", "'", "'=1", "''", " =1", "\uff1d1", "a", "", "a=1", "1"]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_no_formulas_and_come_back(text: str) -> None:
    cell = guarded(text)
    assert unguarded(cell) == text
    assert not cell.strip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert (cell == text) == (text in ("a", "", "a=1", "1"))


@pytest.mark.parametrize("number", [-0.5, 3, None])
def test_numbers_stay(number: Any) -> None:
    assert guarded(number) is number


def test_scores_of_files_with_odd_names_are_read_back(tmp_path: Path, write_audio: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("=1+1.wav", "@b.wav"):
        write_audio(name, seconds=0.5)
    (tmp_path / "t.csv").write_text("file,emotion,speaker\n=1+1.wav,=cmd|x,-1\n@b.wav,sad,x\n")
    predict("t.csv", output=tmp_path / "rows.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert [row["file"] for row in rows] == ["'=1+1.wav", "'@b.wav"]
    assert (rows[0]["emotion"], rows[0]["speaker"]) == ("'=cmd|x", "'-1")
    (tmp_path / "again.csv").write_text("file\n" + "".join(f"{guarded(name)}\n" for name in ("=1+1.wav", "@b.wav")))
    assert [item.audio.name for item in read_manifest("again.csv").utterances] == ["=1+1.wav", "@b.wav"]
