"""Jobs whose lists give ids, labels and paths that no output can hold: each is a failure of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.engine import extract
from emotion2vec.extraction.predict import predict
from emotion2vec.extraction.writers.base import _is_place, safe_name
from emotion2vec.model.encoder import Emotion2vec

IDS = [
    *("failed.jsonl/x", "job.json/x", "inputs.jsonl/x", "FAILED.jsonl/x", "failed-0-of-2.jsonl/x", "failed.jsonl"),
    *("C:evil", "C:/evil", "c:\\evil", "a/D:evil", "\\\\host\\share\\x", "/evil", "../evil", "a/../../evil", "~/evil"),
    *(
        ".",
        "",
        "/",
        "a//b",
        "a/./b",
        "x" * 300,
        "é" * 200,
        "x/" * 2_000 + "y",
        "\ud800",
        "\0",
        "a\nb",
        "\r",
        "con",
        "=1",
    ),
    *(
        "file.npy",
        "a",
        "a/b",
        "a.npy/b",
        "a",
        ".hidden",
        "features.h5",
        "features.parquet",
        "-rf",
        "*",
        "\udcff",
        "\u202e",
    ),
]
"""Ids that lists may give."""

LABELS = ["\0", "x" * 100_000, "\ud800", "=HYPERLINK()", "a\nb", " ", "\udcff"]
"""Labels that lists may give."""


@pytest.fixture
def hostile(tmp_path: Path, write_audio: Any) -> Path:
    """A list of one file under all of these ids and labels, between two good ones."""
    write_audio("in/g.wav", seconds=0.1)
    rows = [{"audio_filepath": "g.wav", "key": "first", "label": "sad"}]
    rows += [{"audio_filepath": "g.wav", "key": name, "label": "sad"} for name in IDS]
    rows += [{"audio_filepath": "g.wav", "key": f"n{i}", "label": label} for i, label in enumerate(LABELS)]
    rows += [{"audio_filepath": "g.wav", "key": "last", "label": "sad"}]
    path = tmp_path / "in" / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("format", ["npy", "safetensors", "npz", "hdf5", "parquet", "kaldi", "iemocap"])
def test_every_item_ends_as_written_or_failed(format: str, hostile: Path, tmp_path: Path, model: Emotion2vec) -> None:
    (tmp_path / "out").mkdir()
    before = sorted(path for path in tmp_path.rglob("*") if "feats" not in path.parts)
    options: dict[str, Any] = {"granularity": "frame" if format == "iemocap" else "utterance", "format": format}
    report = extract(hostile, model=model, output=tmp_path / "out" / "feats", **options)
    assert report.written + len(report.failed) == len(IDS) + len(LABELS) + 2
    assert report.written >= 2 and report.exit_code == 1
    assert sorted(path for path in tmp_path.rglob("*") if "feats" not in path.parts) == before
    names = {json.loads(line)["id"] for line in (tmp_path / "out" / "feats" / "inputs.jsonl").read_text().splitlines()}
    assert {"first", "last"} <= names
    reasons = [json.loads(line) for line in (tmp_path / "out" / "feats" / "failed.jsonl").read_text().splitlines()]
    assert len(reasons) == len(report.failed)


def test_every_item_is_scored_or_failed(hostile: Path, tmp_path: Path) -> None:
    for name in ("rows.jsonl", "rows.csv"):
        report = predict(hostile, output=tmp_path / name)
        assert report.written + len(report.failed) == len(IDS) + len(LABELS) + 2
        assert report.written >= 2


def test_a_list_on_stdin_with_every_kind_of_line(
    tmp_path: Path, write_audio: Any, model: Emotion2vec, stdin: Any
) -> None:
    write_audio("g.wav", seconds=0.1)
    stdin(b".\n/\nhttp://\ng.wav\nhttp://[\ns3://*\nnothing://x\n" + b"x" * 300 + b"\n\xff\0\n", tmp_path)
    report = extract("-", model=model, output=tmp_path / "out", granularity="utterance")
    assert report.written == 1 and len(report.failed) == 8
    assert (tmp_path / "out" / "g.npy").is_file()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives bytes to read on stdin, in a folder."""

    class Stdin:
        def __init__(self, content: bytes, folder: Path):
            import io

            monkeypatch.chdir(folder)
            self.buffer = io.BytesIO(content)
            monkeypatch.setattr("sys.stdin", self)

    return Stdin


@pytest.mark.parametrize("part", ["..", ".", "", "C:", "C:evil", "z:x"])
def test_places_on_every_system(part: str) -> None:
    assert _is_place(part) and _is_place(part, windows=True)
    with pytest.raises(ManifestError, match="cannot name an output"):
        safe_name(Utterance(id=f"a/{part}/b", audio="x.wav"))


@pytest.mark.parametrize(
    "part", [".. ", "...", ". .", "con", "NUL.txt", "com1", "lpt9.x", "aux ", "spk:utt", "a.", "b "]
)
def test_places_on_windows(part: str) -> None:
    assert _is_place(part, windows=True) and not _is_place(part, windows=False)


@pytest.mark.parametrize("part", ["a", "a.b", "console", "nullable", "com10", "é", " a", ".a", "~"])
def test_names_that_are_no_places(part: str) -> None:
    assert not _is_place(part, windows=True) and not _is_place(part, windows=False)
