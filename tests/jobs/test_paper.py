"""Who has a labelled corpus and a paper to write: scores with intervals, figures, LaTeX, and the classifier kept."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import run
from jobs.recordings import Clip, emodb
from sklearn.metrics import recall_score

from emotion2vec.checkpoint import load_model

CLASSES = ("anger", "neutral", "sadness")


@pytest.fixture(scope="module")
def clips(shared: Path) -> list[Clip]:
    """Four clips of each of three classes by each of six speakers."""
    found = [clip for clip in emodb(shared) if clip.emotion in CLASSES]
    who = sorted({clip.speaker for clip in found})[:6]
    groups = [[clip for clip in found if (clip.speaker, clip.emotion) == (s, e)][:4] for s in who for e in CLASSES]
    return [clip for group in groups for clip in group]


@pytest.fixture(scope="module")
def table(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the words of the one who made it."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.tsv"
    rows = [f"{clip.path}\t{clip.emotion.title()}\tp{clip.speaker}" for clip in clips]
    path.write_text("\n".join(["Recording\tFeeling\tParticipant", *rows]) + "\n")
    return path


def test_scores_figures_and_a_classifier(
    clips: list[Clip], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    columns = ("--columns", "file=Recording,emotion=Feeling,speaker=Participant")
    words = ("probe", "--table", table, *columns, "--features", "compact", "--features", "mfcc", "--head", "logreg")
    assert run(monkeypatch, *words, "--folds", "speaker", "--cache", "cache", "--output", "scores.json") == 0
    shown = capsys.readouterr()
    document = json.loads(Path("scores.json").read_text())
    results = {result["feature"]: result for result in document["results"]}
    assert results.keys() == {"compact", "mfcc"} and all(len(one["folds"]) == 6 for one in results.values())
    assert results["compact"]["pooled"]["UA"] > 80 > 100 / 3  # it knows the corpus; three classes
    assert "compact" in shown.out and re.search(r"\bp\b", shown.out)
    confusion = np.sum([fold["confusion"] for fold in results["mfcc"]["folds"]], axis=0)
    truth, said = (np.repeat(np.indices((3, 3))[axis].ravel(), confusion.ravel()) for axis in (0, 1))
    recall = 100 * recall_score(truth, said, average="macro")
    assert confusion.sum() == len(clips) and results["mfcc"]["pooled"]["UA"] == pytest.approx(recall, abs=0.1)

    assert run(monkeypatch, "plot", "scores.json", "--output", "figures", "--format", "pdf") == 0
    figures = sorted(Path("figures").iterdir())
    assert len(figures) > 4 and all(path.read_bytes().startswith(b"%PDF") for path in figures)

    words = ("probe", "--table", table, *columns, "--features", "compact", "--head", "logreg", "--pooling", "mean+std")
    assert run(monkeypatch, *words, "--cache", "cache", "--save-model", "mine") == 0
    assert run(monkeypatch, "predict", table, *columns, "--model", "mine", "--output", "said.csv") == 0
    with open("said.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["Feeling"] for row in rows] == [clip.emotion.title() for clip in clips]
    kept = load_model("mine")
    for row, clip in zip(rows[::9], clips[::9], strict=True):
        expected = kept.predict(clip.path)
        assert float(row["confidence"]) == pytest.approx(max(expected.values()), abs=1e-4)
        assert expected.keys() == {label.title() for label in CLASSES}
