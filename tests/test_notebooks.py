"""What Python prints and a notebook shows of our objects: one line, and a table that is small and holds no markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import tiny_config
from probe.stand_in import write_tones

import emotion2vec
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.results.rows import Row
from emotion2vec.extraction.run import ExtractionReport
from emotion2vec.extraction.streaming import StreamedFeatures
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.features import Features
from emotion2vec.notebooks import MOST_LETTERS, MOST_ROWS, html_table, one_line
from emotion2vec.probe import probe
from emotion2vec.probe.benchmark.results import BenchmarkResult, Failure
from emotion2vec.probe.heads import MlpHead

ODD = "<script>alert(1)</script>\n\x07 & ünal"


class Cells(HTMLParser):
    """Tags of a page, and the texts of its cells."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[Any]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1][-1] += data


def shown(one: Any, words: str) -> list[list[str]]:
    """The table of an object that says these words, on one line."""
    assert words in repr(one) and repr(one).isprintable() and len(repr(one)) <= MOST_LETTERS
    page = one._repr_html_()
    cells = Cells(page)
    assert cells.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td"} and len(page) < 20_000
    return cells.rows


def test_texts_are_one_line_and_tables_are_bounded() -> None:
    assert one_line(ODD) == r"<script>alert(1)</script>\n\x07 & ünal"
    assert len(one_line("x" * 1000)) == MOST_LETTERS and one_line("\n" * 1000).endswith("…")
    page = html_table(ODD, [ODD], [[f"{ODD}{n}"] for n in range(1000)])
    cells = Cells(page)
    assert "script" not in cells.tags and cells.rows[0] == [one_line(ODD)]
    assert len(cells.rows) == 1 + MOST_ROWS + 1 and cells.rows[-1] == ["… and 990 more"]
    assert cells.rows[MOST_ROWS] == [one_line(f"{ODD}9")]


def test_features_say_their_shape_rate_and_length() -> None:
    features = Features(np.zeros((149, 768), np.float32), np.zeros((13, 149, 768), np.float32))
    rows = shown(features, "Features: 149 frames, 768 channels, 50 frames a second, 3.0 s of audio, 13 layers")
    assert ["frames", "149"] in rows and ["layers", "13"] in rows
    shown(Features(features.frames), "3.0 s of audio")
    step = StreamedFeatures(1.5, features.frames, features.utterance, {"sad": 0.2, "angry": 0.75, ODD: 0.05})
    rows = shown(step, "149 frames, 768 channels, from 1.50 s; angry 0.75, sad 0.20, <script>")
    assert rows[1:3] == [["sad", "0.2000"], ["angry", "0.7500"]]


def test_models_say_their_name_their_size_and_their_labels() -> None:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, labels=("angry", "sad", "unuse_0", ODD))
    millions = sum(weights.numel() for weights in model.state_dict().values()) / 1e6
    config = model.config
    size = f"{millions:.1f} M parameters, {config.depth + config.prenet_depth} blocks of {config.width} channels"
    rows = shown(model, f"Emotion2vec: {size}, head of 3 labels (angry, sad, <script>")
    assert ["parameters", f"{millions:.1f} M"] in rows
    assert repr(emotion2vec.load_model("tiny")).startswith("Emotion2vec: tiny, 1.4 M parameters, 6 blocks of 128")
    assert "head" not in repr(Emotion2vec(tiny_config().model))
    assert "frontend" in torch.nn.Module.__repr__(model)


def test_results_of_predictions_say_what_was_heard() -> None:
    item = Utterance(id="a", file=f"{ODD}.wav", audio="a.wav", speaker="anna")
    row = Row(item, 0.5, 2.0, "sad", 0.75, {"sad": 0.75, "angry": 0.25})
    assert shown(row, ".wav 0.50 to 2.00 s, anna: sad, 0.75")[1:] == [["sad", "0.7500"], ["angry", "0.2500"]]
    shown(Row(item, 0.5, 2.0, None, 0.4, {"sad": 0.4}), "anna: no label, 0.40")
    shown(Row(item, 0.5, 2.0, None, None, {"arousal": 3.25}), "anna: arousal 3.25")
    report = ExtractionReport(written=1200, seconds=7300.0, failed=[Fault(f"{n}.wav", ODD) for n in range(30)])
    rows = shown(report, "ExtractionReport: 1,200 written (2.0 h), 30 failed")
    assert rows[1] == ["0.wav", one_line(ODD)] and rows[-1] == ["… and 20 more"]


def test_scores_say_the_main_one_with_its_interval(tmp_path: Path) -> None:
    found = probe(table=write_tones(tmp_path), features=("logmel",), heads=("logreg", MlpHead(epochs=1)))
    best = max(found.results, key=lambda one: one.pooled["UA"])
    low, high = best.intervals["UA"]
    score = f"{best.pooled['UA']:.1f} % UA ({low:.1f} to {high:.1f})"
    rows = shown(found, f"best of 2: logmel, {best.head}, {score}")
    assert rows[1] == ["logmel", best.head, score] and len(rows) == 3
    rows = shown(best, f"HeadScores: logmel, {best.head}: {score}, {len(best.folds)} folds, {best.clips} clips")
    assert rows[0] == ["fold", "clips", *best.metrics]
    assert rows[1] == ["all", str(best.clips), *(f"{best.pooled[name]:.1f}" for name in best.metrics)]
    assert [row[0] for row in rows[2:]] == [fold.name for fold in best.folds]
    fold = best.folds[0]
    shown(fold, f"FoldScores: {fold.name}, {fold.clips} clips: ")
    shown(found.about, f"{found.about.clips} clips, ")
    none = BenchmarkResult([], [Failure("a", "b", "c")])
    assert repr(none) == "BenchmarkResult: 0 combinations done, 1 failed"


@pytest.mark.parametrize("name", ["recording", "speaker"])
def test_recordings_and_speakers_say_what_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text("file,start,end,speaker,label\na.wav,1,2,anna,sad\na.wav,2,4.5,bob,sad\n")
    (one,) = emotion2vec.timelines(tmp_path / "t.csv")
    if name == "recording":
        rows = shown(one, "Timeline: a.wav, 4.5 s, 2 speakers")
        assert rows[1:] == [["anna", "1", "1.0 s"], ["bob", "1", "2.5 s"]]
    else:
        shown(one.tracks[1], "Track: bob, 1 stretches from 2.00 to 4.50 s")
    assert re.fullmatch(r"[^\n]+", repr([one, *one.tracks]))
