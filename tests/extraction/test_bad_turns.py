"""Turns and recordings that cannot be: each is named, and the others are done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import speech
from networks import tiny_config
from tables import rows_of

from emotion2vec.extraction.predict import predict
from emotion2vec.extraction.sources.named import read_sources
from emotion2vec.model.encoder import Emotion2vec

LINES = [
    ("talk", 0.1, 1.0, "A"),
    ("talk", 0.5, 1.0, "A"),  # over the one before
    ("talk", 0.5, 1.0, "<NA>"),  # nobody is known to say it
    ("talk", -1.0, 0.5, "A"),
    ("talk", 1.5, 9.0, "B"),
    ("talk", 30.0, 1.0, "B"),
    ("talk", 1.0, 0.0, "B"),
    ("empty", 0.0, 1.0, "B"),
    ("nobody", 0.0, 1.0, "B"),
    ("talk", 1.5, 0.5, "C"),
]


def test_what_cannot_be_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, labels=('an"gry', "s\ta\nd")).eval()
    soundfile.write(tmp_path / "talk.wav", speech(40_000), 16_000)
    (tmp_path / "empty.wav").write_bytes(b"")
    rttm = [f"SPEAKER {name} 1 {start} {length} <NA> <NA> {who} <NA> <NA>\n" for name, start, length, who in LINES]
    (tmp_path / "t.rttm").write_text("".join(rttm))
    report = predict(
        [tmp_path / "talk.wav", tmp_path / "empty.wav"],
        model=model,
        segments=tmp_path / "t.rttm",
        output=tmp_path / "o.jsonl",
        summary=tmp_path / "s.jsonl",
        export=("textgrid", "elan", "srt", "vtt", "audacity", "rttm"),
        export_folder=tmp_path / "marks",
    )
    assert (report.written, report.exit_code) == (4, 1)
    reasons = [str(fault).replace(str(tmp_path), "") for fault in report.failed]
    for expected in (
        "/t.rttm:4: starts at -1.0 s, expected 0 or more",
        "/t.rttm:7: lasts 0 s, expected more than 0",
        "/t.rttm:9: expected one recording named 'nobody', found none",
        "/talk.wav from 1.5 s: the segment ends at 10.5 s, but the audio has 2.5 s",
        "/talk.wav from 30 s: the segment ends at 31 s, but the audio has 2.5 s",
    ):
        assert expected in reasons
    assert sum("/empty.wav" in reason for reason in reasons) == 1 and len(reasons) == 6
    rows = rows_of(tmp_path / "o.jsonl")
    assert [(row["start"], row["speaker"]) for row in rows] == [(0.1, "A"), (0.5, "A"), (0.5, None), (1.5, "C")]
    assert sorted(path.suffix for path in (tmp_path / "marks").iterdir()) == sorted(
        [".TextGrid", ".eaf", ".srt", ".vtt", ".txt", ".rttm"]
    )
    parselmouth = pytest.importorskip("parselmouth")
    grid = parselmouth.read(str(tmp_path / "marks" / "talk.TextGrid"))
    names = [parselmouth.praat.call(grid, "Get tier name", tier) for tier in range(1, 5)]
    assert names == ["A", "A (2)", "emotion", "C"]


def test_ten_thousand_turns_are_listed_at_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", speech(16_000), 16_000)
    lines = [f"SPEAKER talk 1 {number / 10:.1f} 0.5 <NA> <NA> s{number % 7} <NA> <NA>\n" for number in range(10_000)]
    (tmp_path / "t.rttm").write_text("".join(lines))
    found = read_sources(tmp_path / "talk.wav", segments=tmp_path / "t.rttm")
    assert len({item.id for item in found.utterances}) == 10_000 and not found.faults
    assert found.utterances[-1].start == 999.9


@pytest.mark.slow
def test_a_joined_recording_of_real_speech(shared: Path, tmp_path: Path) -> None:
    """Clips of two emotions in turn, as one recording whose turns a TextGrid names: results are those of the clips."""
    lines = (shared / "data" / "emodb" / "metadata.tsv").read_text().splitlines()[1:]
    wanted = [line.split("\t") for line in lines if line.endswith(("anger", "sadness"))][:12]
    paths = [shared / "data" / "emodb" / line[0] for line in wanted]
    clips = [soundfile.read(path, dtype="float32")[0] for path in paths]
    soundfile.write(tmp_path / "talk.wav", np.concatenate(clips), 16_000, subtype="FLOAT")
    edges = np.cumsum([0, *(len(clip) for clip in clips)]) / 16_000
    marks = " ".join(f'{a:.6f} {b:.6f} "{line[0]}"' for a, b, line in zip(edges, edges[1:], wanted, strict=False))
    head = f'"ooTextFile" "TextGrid" 0 {edges[-1]} <exists> 1 "IntervalTier" "all" 0 {edges[-1]} {len(clips)}'
    (tmp_path / "talk.TextGrid").write_text(f"{head} {marks}")
    predict(tmp_path / "talk.wav", segments=tmp_path / "talk.TextGrid", output=tmp_path / "turns.jsonl")
    predict([str(path) for path in paths], output=tmp_path / "clips.jsonl")
    turns, alone = rows_of(tmp_path / "turns.jsonl"), rows_of(tmp_path / "clips.jsonl")
    assert [row["text"] for row in turns] == [line[0] for line in wanted]
    assert [row["label"] for row in turns] == [row["label"] for row in alone]
    assert [row["confidence"] for row in turns] == pytest.approx([row["confidence"] for row in alone], abs=5e-3)
