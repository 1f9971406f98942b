"""Random lists in every format, with hostile fields: what is written is read back, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emotion2vec.corpora.lists.lines import parse_records, read_lines
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.segments import read_segments
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.corpora.names import normal
from emotion2vec.corpora.utterance import Listing
from emotion2vec.extraction.sources.named import _from_list

HOSTILE = [
    '"', "'", "#", "-", "--", " ", "  ", ".", "..", ",", ";", "\\", "%s", "|", "=", "<NA>", "~", "$HOME", "*", "?",
    "[1]", "\u00eb", "e\u0308", "\u1e69", "\u4f60", "\u0645", "\U0001f600", "\u00a0", "\u2028", "\u2029", "\x85",
    "\x0b", "\x0c", "\x1c", "\ufeff", "\u200f", "orig", ".opus", ".wav", "1", "0.5", "-1", "sep=", "file", "null",
    "a" * 60,
]  # fmt: skip
"""Pieces of fields that readers stumble over."""

ENDS_OF_LINE = "\n\r"
FAST = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def fields(without: str = ENDS_OF_LINE) -> st.SearchStrategy[str]:
    """Text of hostile pieces and of any characters but some."""
    characters = st.characters(codec="utf-8", exclude_characters=without + "\0", exclude_categories=["Cs"])
    pieces = st.one_of(st.sampled_from(HOSTILE), st.text(characters, max_size=4))
    joined = st.lists(pieces, min_size=1, max_size=5).map("".join)
    return joined.map(lambda text: "".join(character for character in text if character not in without))


def names(without: str = ENDS_OF_LINE) -> st.SearchStrategy[list[str]]:
    """Names of different files that a disk can hold."""
    suffixes = st.sampled_from([".wav", ".opus", ".WAV", ".flac"])
    name = st.tuples(fields(without + "/"), suffixes).map("".join).filter(lambda text: len(text.encode()) < 250)
    return st.lists(name, min_size=1, max_size=5, unique=True)


@contextmanager
def audio(listed: Sequence[str]) -> Iterator[Path]:
    """A folder with empty files of these names; lists lie in one beside it, so that no name is taken twice."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        for name in listed:
            (Path(folder) / "in" / name).touch()
        yield Path(folder) / "in"


def read(root: Path, name: str, text: str | bytes) -> Listing:
    path = root.parent / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path, root=root)


def check(manifest: Listing, listed: Sequence[str], root: Path) -> None:
    """Every file is there once, in the order of the list, under an id of its own."""
    assert manifest.faults == [] and manifest.changes == []
    assert [utterance.audio for utterance in manifest.utterances] == [root / name for name in listed]
    assert len({utterance.id for utterance in manifest.utterances}) == len(listed)


Facts = st.tuples(fields("\n\r\t"), fields("\n\r\t"))


@FAST
@given(names("\n\r\t"), st.lists(Facts, min_size=5, max_size=5), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
@example(["a.wav", "b.wav"], [('"Well, I told you', "x")] + [('again"', "y")] * 4, "utf-8")
def test_tab_separated_tables(listed: list[str], facts: list[tuple[str, str]], encoding: str) -> None:
    rows = [["file", "emotion", "speaker", "text"]]
    rows += [[name, *pair, "t" * 9] for name, pair in zip(listed, facts, strict=False)]
    with audio(listed) as root:
        text = "".join("\t".join(row) + "\r\n" for row in rows).encode(encoding)
        manifest = read(root, "t.tsv", text)
        check(manifest, listed, root)
        for utterance, (label, speaker) in zip(manifest.utterances, facts, strict=False):
            assert (utterance.label, utterance.speaker) == (label.strip() or None, speaker.strip() or None)


@FAST
@given(names(), st.lists(st.tuples(fields(), fields()), min_size=5, max_size=5), st.sampled_from(",;"))
@example(["a.wav"], [('"' * 7, "x" * 200_000)] * 5, ",")
def test_comma_and_semicolon_separated_tables(listed: list[str], facts: list[tuple[str, str]], mark: str) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=mark, lineterminator="\n")
    writer.writerow(["file", "emotion", "speaker", "text"])
    writer.writerows([name, *pair, "t"] for name, pair in zip(listed, facts, strict=False))
    with audio(listed) as root:
        manifest = read(root, "t.csv", stream.getvalue())
        check(manifest, listed, root)
        for utterance, (label, speaker) in zip(manifest.utterances, facts, strict=False):
            assert (utterance.label, utterance.speaker) == (label.strip() or None, speaker.strip() or None)


@FAST
@given(st.lists(st.lists(fields(""), min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from(["csv", "tsv"]))
def test_rows_and_faults_are_all_lines_of_a_table(rows: list[list[str]], suffix: str) -> None:
    mark = "\t" if suffix == "tsv" else ","
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{suffix}"
        path.write_text("".join(mark.join(row) + "\n" for row in [["file", "emotion", "text"], *rows]), newline="")
        lines, unreadable = read_lines(path)
        table = parse_records(path, lines)
        covered = {number for number, _ in table.records}
        for fault in [*unreadable, *table.faults]:
            first, _, last = fault.where.rpartition(":")[2].partition("-")
            covered |= set(range(int(first), int(last or first) + 1))
        blank = {number for number, line in lines[1:] if not line.replace('"', "").replace(mark, "").strip()}
        assert {number for number, _ in lines[1:]} <= covered | blank


@FAST
@given(names("\n\r\t"))
def test_fairseq_manifests(listed: list[str]) -> None:
    with audio(listed) as root:
        check(read(root, "t.tsv", f"{root}\n" + "".join(f"{name}\t{12}\n" for name in listed)), listed, root)


@FAST
@given(names(), st.lists(fields("\n\r\t "), min_size=5, max_size=5))
def test_kaldi_lists(listed: list[str], keys: list[str]) -> None:
    listed = [name for name in listed if name == name.lstrip(" \t") and not name.rstrip().endswith("|")]
    keys = [f"{number}{key}".replace("/", "") for number, key in enumerate(keys)]
    with audio(listed) as root:
        if listed:
            manifest = read(root, "t.scp", "".join(f"{key} {name}\n" for key, name in zip(keys, listed, strict=False)))
            check(manifest, listed, root)
            assert [utterance.id for utterance in manifest.utterances] == keys[: len(listed)]


@FAST
@given(names(""), st.lists(st.tuples(fields(""), fields("")), min_size=5, max_size=5), st.booleans(), st.booleans())
def test_json_lines(listed: list[str], facts: list[tuple[str, str]], nemo: bool, escaped: bool) -> None:
    path = "audio_filepath" if nemo else "wav"
    rows = [{path: name, "emotion": a, "speaker": b} for name, (a, b) in zip(listed, facts, strict=False)]
    with audio(listed) as root:
        text = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows)
        manifest = read(root, "t.jsonl", text)
        check(manifest, listed, root)
        for utterance, (label, speaker) in zip(manifest.utterances, facts, strict=False):
            assert (utterance.label, utterance.speaker) == (label.strip() or None, speaker.strip() or None)


@FAST
@given(names(), st.sampled_from(["\n", "\r\n", "\0"]))
def test_lists_on_stdin(listed: list[str], end: str) -> None:
    listed = [name for name in listed if "://" not in name and not name.startswith("\ufeff")]  # a byte order mark
    raw = "".join(name + end for name in listed).encode()
    items = _from_list(raw, Path("/data")).utterances
    assert [str(item.audio) for item in items] == [f"/data/{name}" for name in listed]
    assert len({item.id for item in items}) == len(listed)


@FAST
@given(names("\n\r\t"), st.lists(fields("\n\r\t"), min_size=5, max_size=5), st.booleans())
def test_tables_of_the_probe(listed: list[str], texts: list[str], tabs: bool) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [["file", "label", "text"], *([name, "x", text] for name, text in zip(listed, texts, strict=False))]
    writer.writerows(rows)
    with audio(listed) as root:
        table = root.parent / ("t.tsv" if tabs else "t.csv")
        table.write_bytes(
            "".join("\t".join(row) + "\n" for row in rows).encode() if tabs else stream.getvalue().encode()
        )
        found = read_table(table, root)
        assert [clip.path for clip in found.utterances] == [root / name for name in listed] and not found.left_out
        assert [clip.text for clip in found.utterances] == [
            text.strip() or None for _, text in zip(listed, texts, strict=False)
        ]


def words() -> st.SearchStrategy[str]:
    """Names that may stand between spaces."""
    return fields("\n\r\t").map(lambda text: text.replace("<NA>", "").strip(" ")).filter(bool)


@FAST
@given(st.lists(st.tuples(words(), words(), st.integers(1, 3)), min_size=1, max_size=5), st.sampled_from(" \t"))
def test_rttm(rows: list[tuple[str, str, int]], mark: str) -> None:
    lines = [
        mark.join(["SPEAKER", recording, str(channel), "0.5", "1.25", "<NA>", "<NA>", speaker, "<NA>", "<NA>"])
        for recording, speaker, channel in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.rttm"
        path.write_text("".join(f"{line}\n" for line in lines), newline="")
        segments, faults = read_segments(path)
    assert faults == []
    assert [(segment.recording, segment.speaker) for segment in segments] == [row[:2] for row in rows]


@FAST
@given(st.lists(st.tuples(words(), st.integers(-1, 3)), min_size=1, max_size=5))
@example([("call", -1), ("call 1", 0)])
def test_segments_of_kaldi(rows: list[tuple[str, int]]) -> None:
    lines = [
        f"u{number} {recording} 0.5 1.25" + (f" {channel}" if channel >= 0 else "")
        for number, (recording, channel) in enumerate(rows)
    ]
    known = {normal(recording) for recording, _ in rows}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segments"
        path.write_text("".join(f"{line}\n" for line in lines), newline="")
        segments, faults = read_segments(path, known)
    assert len(segments) + len(faults) == len(lines)  # a line that can be read in two ways is a fault
    for segment in segments:
        recording, channel = rows[int(str(segment.id)[1:])]
        assert (segment.recording, segment.channel) == (recording, None if channel < 0 else channel)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_properties_see_a_row_that_is_lost(suffix: str) -> None:
    with audio(["a.wav", "b.wav"]) as root, pytest.raises(AssertionError):
        text = "file\na.wav\n" if suffix == "csv" else '{"wav": "a.wav"}\n'
        check(read(root, f"t.{suffix}", text), ["a.wav", "b.wav"], root)
