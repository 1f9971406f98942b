from __future__ import annotations

from pathlib import Path

import pytest

from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.errors import ManifestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.flac", "c.opus"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("tsv", "\t"), ("csv", ";")])
def test_columns_in_any_order_and_unknown_ones(folder: Path, ending: str, mark: str) -> None:
    lines = [["Emotion", "speaker", "language", "file", "split"], ["sad", "s1", "de", "a.wav", "test"]]
    table = folder / f"t.{ending}"
    table.write_text("\ufeff" + "\n".join(mark.join(line) for line in lines), encoding="utf-8")
    (clip,) = read_table(table).utterances
    assert (clip.label, clip.speaker, clip.split, clip.fold, clip.path) == ("sad", "s1", "test", None, folder / "a.wav")
    assert (clip.language, clip.corpus, clip.dialogue, clip.turn) == ("de", None, None, None)


def test_words_and_numbers_of_sentences_are_different_columns(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("file,label,text,sentence\na.wav,x,Good day,a01\nb.wav,x,,a01\nc.opus,y,Good day,\n")
    found = [(clip.text, clip.sentence) for clip in read_table(table).utterances]
    assert found == [("Good day", "a01"), (None, "a01"), ("Good day", None)]


def test_files_are_found_whatever_their_ending(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("file,label,speaker\na.wav,x,\nb.wav,y,s\nsub/none.wav,y,s\n")
    found = read_table(table)
    assert [clip.path.name for clip in found.utterances] == ["a.wav", "b.flac"]
    assert [clip.speaker for clip in found.utterances] == [None, "s"]
    assert list(found.left_out) == ["sub/none.wav"]


def test_the_root_can_be_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    table = tmp_path_factory.mktemp("tables") / "t.csv"
    table.write_text("file,label\nc.opus,x\n")
    assert read_table(table, folder).utterances[0].path == folder / "c.opus"
    with pytest.raises(ManifestError, match=r"no file of its 1 row exists.*c\.opus"):
        read_table(table)


def test_all_faulty_lines_are_told_at_once(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("file,label\na.wav,x\n,x\nb.wav,\na.wav,y\n")
    with pytest.raises(ManifestError, match=r"3 faulty lines: line 3: file.*line 4: label.*line 5: a\.wav.*line 2"):
        read_table(table)


@pytest.mark.parametrize("turn", ["3x", "x3", "3.0", "", "--3", "3 4"])
def test_a_turn_that_is_no_whole_number_is_named(turn: str, folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text(f"file,label,dialogue,turn\na.wav,x,d,-3\nb.flac,x,d,{turn}\n")
    with pytest.raises(ManifestError, match=f"1 faulty line: line 3: turn is '{turn}', expected a whole number$"):
        read_table(table, conversations=True)


def test_missing_columns_and_files(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("path,label\na.wav,x\n")
    with pytest.raises(ManifestError, match="columns are path, label; expected `file` and `label`"):
        read_table(table)
    with pytest.raises(ManifestError, match="cannot be opened"):
        read_table(folder / "none.csv")
    table.write_bytes(b"file,label\n\xff\xfe,x\n")
    with pytest.raises(ManifestError, match=r"t\.csv:2: not UTF-8 text"):
        read_table(table)
    table.write_text("file,label\n")
    with pytest.raises(ManifestError, match="no rows"):
        read_table(table)


def test_rows_that_cannot_be_read_are_named_and_the_others_kept(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_bytes(b'file;label;speaker\na.wav;x;s1\nb.wav;w\xfctend;s1\n"c.opus;y;s2\n')
    found = read_table(table)
    assert [clip.file for clip in found.utterances] == ["a.wav"]
    assert found.left_out.keys() == {f"{table}:3", f"{table}:4"}
    assert "as Windows-1252 it reads 'b.wav;wütend;s1'" in found.left_out[f"{table}:3"]


def test_a_text_that_begins_with_a_quote_costs_no_rows(folder: Path) -> None:
    table = folder / "t.tsv"
    table.write_text('file\tlabel\ttext\na.wav\tx\t"Well, I told you\nb.wav\ty\tyes\nc.opus\ty\tnever again"\n')
    found = read_table(table)
    assert [clip.text for clip in found.utterances] == ['"Well, I told you', "yes", 'never again"']


def test_a_file_is_never_taken_from_another_speaker_or_of_two(folder: Path) -> None:
    for name in ("s2/sad.opus", "X.opus", "X.orig.opus", "twice.flac", "twice.opus"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    table = folder / "t.csv"
    table.write_text("file,label\ns1/sad.opus,x\nX.wav,x\nX.orig.wav,y\ntwice.wav,y\n")
    found = read_table(table)
    assert [clip.path.name for clip in found.utterances] == ["X.opus", "X.orig.opus"]
    assert [change.kind for change in found.changes] == ["searched by stem"] * 2
    assert "only in other folders" in found.left_out["s1/sad.opus"] and "2 files" in found.left_out["twice.wav"]


def test_segments_of_a_file_are_utterances_of_their_own(folder: Path) -> None:
    table = folder / "t.csv"
    table.write_text("file,label,start,end\na.wav,x,0,1\na.wav,y,1,2.5\nb.wav,y,,\nnone.wav,x,0,1\nnone.wav,y,1,2\n")
    found = read_table(table)
    assert [(clip.id, clip.start, clip.duration) for clip in found.utterances] == [
        ("a_0.000_1.000", 0, 1),
        ("a_1.000_2.500", 1, 1.5),
        ("b", None, None),
    ]
    assert found.left_out.keys() == {"none.wav from 0 s", "none.wav from 1 s"}
    table.write_text("file,label,start,end\na.wav,x,0,1\na.wav,y,0,1\nb.wav,y,3,2\n")
    with pytest.raises(ManifestError, match=r"line 3: a.wav from 0 s is already on line 2; line 4: the segment ends"):
        read_table(table)


def test_folders_called_like_rare_suffixes_are_no_containers(folder: Path) -> None:
    for name in ("au/x.opus", "flac/y.opus"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"")
    table = folder / "t.csv"
    table.write_text("file,label\nra/x.opus,x\nwav/y.wav,y\n")
    found = read_table(table)
    assert [clip.path.name for clip in found.utterances] == ["y.opus"]
    assert "only in other folders" in found.left_out["ra/x.opus"]
