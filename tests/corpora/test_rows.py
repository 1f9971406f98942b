"""Segments and channels that lists name, in every word for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.lists.rows import channel_of, span_of
from emotion2vec.corpora.lists.segments import read_segments
from emotion2vec.errors import ManifestError


def table(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def spans(path: Path) -> list[tuple[float | None, float | None, int | None]]:
    found = read_manifest(path)
    assert not found.faults, found.faults
    return [(item.start, item.duration, item.channel) for item in found.utterances]


@pytest.fixture
def call(tmp_path: Path) -> Path:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "call.wav", np.random.default_rng(0).normal(size=(16_000, 2)) * 0.1, 16_000)
    return tmp_path


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("file,start,end", "call.wav,0.2,0.8", (0.2, 0.6, None)),
        ("file,start,duration,channel", "call.wav,0.2,0.6,1", (0.2, 0.6, 1)),
        ("file,offset,duration", "call.wav,0.2,0.6", (0.2, 0.6, None)),
        ("file,start_time,end_time", "call.wav,0.2,0.8", (0.2, 0.6, None)),
        ("file,channel", "call.wav,0", (None, None, 0)),
        ("file,duration", "call.wav,1.0", (None, None, None)),  # the whole file's
    ],
)
def test_tables(call: Path, header: str, row: str, expected: tuple[float | None, float | None, int | None]) -> None:
    ((start, duration, channel),) = spans(table(call / "list.csv", header, row))
    assert (start, channel) == (expected[0], expected[2])
    assert duration == (None if expected[1] is None else pytest.approx(expected[1]))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"audio": "call.wav", "start": 0.2, "end": 0.8}, (0.2, 0.6, None)),
        ({"audio_filepath": "call.wav", "offset": 0.2, "duration": 0.6, "channel": 1}, (0.2, 0.6, 1)),
        ({"audio_filepath": "call.wav", "duration": 1.0}, (None, None, None)),
        ({"wav": "call.wav", "channel": 2}, (None, None, None)),  # EmoBox's number of channels
    ],
)
def test_json_lines(call: Path, record: dict, expected: tuple[float | None, float | None, int | None]) -> None:
    path = call / "list.jsonl"
    path.write_text(json.dumps(record) + "\n")
    ((start, duration, channel),) = spans(path)
    assert (start, channel) == (expected[0], expected[2])
    assert duration == (None if expected[1] is None else pytest.approx(expected[1]))


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("file,channel", "call.wav,left", "'channel' is 'left', expected a number, from 0 on"),
        ("file,start,end", "call.wav,0.8,0.2", "ends at 0.2 s, expected an end after its start at 0.8 s"),
        ("file,start,end,duration", "call.wav,0.2,0.8,0.1", "lasts 0.1 s and ends 0.6 s after its start"),
    ],
)
def test_what_cannot_be_meant_is_a_fault(call: Path, header: str, row: str, reason: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(table(call / "list.csv", header, row))
    assert reason in str(refused.value)


@pytest.mark.parametrize("channel", ["1x", "x1", "-1", "1.0", "\u00b2", "\u0661", "1 2"])
def test_a_channel_that_is_no_number_is_named(channel: str) -> None:
    with pytest.raises(ValueError, match=r"the field 'channel' is .*, expected a number, from 0 on"):
        channel_of({"channel": channel})


def test_a_segment_ends_after_its_start_and_where_its_duration_says() -> None:
    assert span_of({"start": 1, "end": 1.5, "duration": 0.519}) == (1, 0.5)
    assert span_of({"start": 1, "end": 1.5, "duration": 0.481}) == (1, 0.5)
    for duration in (0.479, 0.521):
        with pytest.raises(ValueError, match=r"the segment lasts .* s and ends 0\.5 s after its start"):
            span_of({"start": 1, "end": 1.5, "duration": duration})
    for end in (1, 0.5):
        with pytest.raises(ValueError, match="expected an end after its start at 1 s"):
            span_of({"start": 1, "end": end})


@pytest.mark.parametrize("channel", ["1x", "-1", "C", "AB", "\u0661"])
def test_a_channel_of_segments_that_is_none_is_named(channel: str, tmp_path: Path) -> None:
    (tmp_path / "s.rttm").write_text(
        f"SPEAKER a 1 0 1 <NA> <NA> x\nSPEAKER a 2 0 1 <NA> <NA> x\nSPEAKER a {channel} 0 1 <NA> <NA> x\n"
    )
    segments, faults = read_segments(tmp_path / "s.rttm")
    assert [segment.channel for segment in segments] == [0, 1]
    assert [fault.reason for fault in faults] == [f"channel is {channel!r}, expected a number, A or B"]
