"""Every verb ends with what became of its inputs, and with an exit code that says when something was missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import run
from networks import TINY, tiny_config

from emotion2vec.checkpoint import save_model
from emotion2vec.corpora.faults import Fault, kind_of
from emotion2vec.corpora.summary import Summary
from emotion2vec.data.prepare import prepare
from emotion2vec.model.encoder import Emotion2vec


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve clips: one is absent, one is found by its stem, one is broken."""
    rng, rows = np.random.default_rng(0), ["file,emotion,speaker"]
    for number in range(12):
        emotion, speaker = ("low", "high")[number % 2], f"s{number // 4}"
        tone = 0.3 * np.sin(2 * np.pi * (120 + 400 * (number % 2)) * np.arange(12_000) / 16_000)
        path = tmp_path / "in" / speaker / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone + 0.01 * rng.normal(size=12_000), 16_000)
        rows.append(f"{speaker}/{number}.{'flac' if number == 3 else 'wav'},{emotion},{speaker}")
    (tmp_path / "in" / "s1" / "5.wav").write_bytes(b"no audio")
    (tmp_path / "in" / "list.csv").write_text("\n".join([*rows, "s9/99.wav,low,s0"]))
    return tmp_path / "in" / "list.csv"


def save_labelled(folder: Path) -> None:
    network = Emotion2vec(tiny_config().model, labels=("low", "high"))
    save_model(folder, network.config, network.state_dict(), labels=("low", "high"))


def test_every_verb_ends_with_its_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, table: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    scores, shards = tmp_path / "scores.json", tmp_path / "shards"
    save_labelled(model)
    words = {
        "extract": ["extract", table, "--model", model, "--output", out],
        "predict": ["predict", table, "--model", model, "--output", tmp_path / "labels.jsonl"],
        "prepare": ["prepare", table, shards, "--workers", 1],
        "probe": [
            "probe",
            "--table",
            table,
            "--features",
            "logmel",
            "--head",
            "logreg",
            "--output",
            scores,
        ],
        "visualize": ["visualize", "--table", table, "--features", "logmel", "--output", tmp_path / "v.html"],
    }
    documents = {
        "extract": out / "job.json",
        "prepare": shards / "shards.json",
        "probe": scores,
    }
    for verb, arguments in words.items():
        assert run(monkeypatch, *arguments) == 1, verb
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("summary: 13 found, 11 done, 2 left out (1 "), line
        assert line.endswith("1 changed on the way (1 searched by stem)"), line
        if verb in documents:
            assert str(Summary.of(json.loads(documents[verb].read_text())["summary"])) == line
    assert run(monkeypatch, *words["extract"], "--resume") == 1
    assert "13 found, 0 done, 11 there already, 2 left out" in capsys.readouterr().err


def test_pretraining_says_what_lists_lacked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, table: Path, tmp_path: Path
) -> None:
    words = [*TINY, f"data.train={table}", f"run.dir={tmp_path / 'run'}", "optim.max_updates=2"]
    assert run(monkeypatch, "pretrain", *words, "data.max_bad_share=0.5") == 1
    said = capsys.readouterr()
    assert "summary: 13 found, 11 done, 2 left out (1 " in said.out + said.err
    assert "1 entry that lists name was missing" in said.err


def test_shards_of_one_output_keep_their_counts(monkeypatch: pytest.MonkeyPatch, table: Path, tmp_path: Path) -> None:
    save_labelled(tmp_path / "model")
    words = ["extract", table, "--model", tmp_path / "model", "--output", tmp_path / "out"]
    for shard in ("0/2", "1/2", "0/2"):
        run(monkeypatch, *words, "--shard", shard, "--resume")
    found = json.loads((tmp_path / "out" / "job.json").read_text())["summary"]
    assert {shard: (counts["done"], counts["there"]) for shard, counts in found.items()} == {
        "0-of-2": (0, 6),
        "1-of-2": (5, 0),
    }


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("too short, 200 samples at 16000 Hz, expected at least 400", "too short"),
        ("'s1/a.wav' does not exist below /data", "does not exist below"),
        ("12 of 300 samples are NaN or infinite, expected", "N of N samples are NaN or infinite"),
        ("the segment ends at 3.5 s, but", "the segment ends at N s"),
        ("", "unusable"),
    ],
)
def test_reasons_are_counted_without_what_differs(reason: str, kind: str) -> None:
    assert kind_of(reason) == Fault("x", reason).kind == kind


def test_files_that_are_no_audio_are_counted_by_their_endings(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c"):
        (tmp_path / name).touch()
    soundfile.write(tmp_path / "d.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    report = prepare(tmp_path, tmp_path / ".shards", workers=1)
    line = "summary: 1 found, 1 done, 3 other files passed over (2 .txt, 1 without an ending)"
    assert str(report.summary) == line
    assert Summary.of(report.summary.to_dict()) == report.summary
    assert str(prepare(tmp_path, tmp_path / ".shards", workers=1).summary) == line  # read again
