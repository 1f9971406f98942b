"""Tables as strangers bring them: what is taken, what is warned of, and sentences about what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from finetune.talkers import quick_config

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError, Emotion2vecError
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.labelled import read_labelled

SOFT = "data.soft=[anger,neutral,sadness]"


def rows_of(talkers: Path) -> list[list[str]]:
    return [line.split(",") for line in talkers.read_text().splitlines()]


def with_cells(rows: list[list[str]], name: str, cell: Callable[[int], str], sign: str = ",") -> str:
    """The table with further columns, whose cells go by the row's number."""
    lines = [sign.join([*rows[0], name.replace(",", sign)])]
    return "\n".join([*lines, *(sign.join([*row, cell(number)]) for number, row in enumerate(rows[1:]))]) + "\n"


@pytest.fixture
def read(talkers: Path, tmp_path: Path) -> Callable[..., Corpus]:
    def reader(content: str | bytes, *more: str) -> Corpus:
        table = tmp_path / "table.csv"
        table.write_bytes(content.encode() if isinstance(content, str) else content)
        config = quick_config(table, Path("m"), tmp_path / "run", f"data.root={talkers.parent}", *more)
        return read_labelled(config.data, config.joint)

    return reader


def test_encodings_and_separators_of_spreadsheets_are_read(talkers: Path, read: Callable[..., Corpus]) -> None:
    text = talkers.read_text()
    plain = read(text)
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        text.replace(",", ";"),
        "sep=;\n" + text.replace(",", ";"),
        text.replace(",", " , ").replace("\n", "\r\n"),
    ):
        assert [(clip.id, clip.label, clip.speaker) for clip in read(content).utterances] == [
            (clip.id, clip.label, clip.speaker) for clip in plain.utterances
        ]


def test_what_is_odd_is_told(talkers: Path, read: Callable[..., Corpus]) -> None:
    rows = rows_of(talkers)
    shares = read(with_cells(rows, "anger,neutral,sadness", lambda n: "40,60,50" if n % 2 else "0.5,0.4,0.1"), SOFT)
    first, second = shares.warnings
    assert first.startswith(
        "anger, neutral, sadness do not add up to 1, and are divided by their sum: s0_anger_1.wav (150)"
    )
    assert second == "sadness is the most probable of no clip, and is not learnt" and len(shares.utterances) == 24
    rounded = read(
        with_cells(rows, "anger,neutral,sadness", lambda n: ("0.34,0.33,0.33", "0.2,0.5,0.3", "0,0,1")[n % 3]), SOFT
    )
    assert not rounded.warnings
    gone = read(talkers.read_text() + "gone1.wav,joy,s0,male\ngone2.wav,joy,s1,male\n")
    assert gone.warnings == ("no file of joy (2 clips) exists, so that there is no such class",)
    folder = read(talkers.read_text() + f"../{talkers.parent.name},anger,s0,male\n")
    assert "is a folder below" in next(iter(folder.left_out.values()))


def test_decimal_commas_are_read_where_commas_are_nothing_else(talkers: Path, read: Callable[..., Corpus]) -> None:
    found = read(with_cells(rows_of(talkers), "arousal", lambda n: f"{n % 4},5", ";"), "data.targets=[arousal]")
    assert {clip.values["arousal"] for clip in found.utterances} == {0.5, 1.5, 2.5, 3.5}


def test_cells_that_are_refused_are_named_with_what_was_expected(talkers: Path, read: Callable[..., Corpus]) -> None:
    rows = rows_of(talkers)
    segments = f'file,emotion,speaker,start,end\n{rows[1][0]},anger,s0,"0,0","0,25"\n'
    targets = ["data.targets=[arousal]"]
    for content, more, message in (
        (with_cells(rows, "arousal", lambda n: '"2,5"'), targets, r"line 2: arousal is '2,5', .* with a point: 2\.5"),
        (segments, [], r"line 2: the field 'start' is '0,0', expected a number of seconds, .*, with a point: 0\.0"),
        (b"PK\x03\x04" + bytes(100), [], r"table\.csv: is an XLSX or ODS spreadsheet, or a ZIP archive, expected text"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), [], r"table\.csv: is an XLS spreadsheet, expected text: save it as CSV"),
        (
            with_cells(rows, "w", lambda n: str(-n)),
            ["data.weight=w"],
            r"w is not above 0 of s0_anger_0\.wav, s0_anger_1",
        ),
        (
            with_cells(rows, "arousal", lambda n: "nan"),
            ["data.targets=[arousal]"],
            r"line 2: arousal is 'nan', expected a n",
        ),
    ):
        with pytest.raises(Emotion2vecError, match=message):
            read(content, *more)


def test_a_folder_is_no_table(talkers: Path, tmp_path: Path) -> None:
    for more, message in (
        ([], r"table .*: it is a folder, expected a CSV, TSV or XLSX"),
        ([f"data.split={tmp_path}"], "split .*: it is a folder"),
    ):
        config = quick_config(talkers if more else tmp_path, Path("m"), tmp_path / "run", *more)
        with pytest.raises(Emotion2vecError, match=message):
            read_labelled(config.data)


def test_settings_of_speech_without_labels_are_unknown() -> None:
    keys = [
        "data.train=[x]",
        "data.weights=[1]",
        "data.batch_seconds=3",
        "optim.cnn_lr_scale=0.1",
        "validation.data=[x]",
    ]
    with pytest.raises(ConfigError) as raised:
        load_config(None, ["data.table=x.csv", "run.dir=x", *keys, "data.max_seconds=0.2", "data.min_samples=4000"])
    for key in keys:
        assert f"unknown key {key.partition('=')[0]}" in str(raised.value)
    assert "data.max_seconds is 0.2, expected at least data.min_samples (0.25 s)" in str(raised.value)
