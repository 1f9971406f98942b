"""Scores of a model that knew the tests are marked, and choosing never sees them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from networks import TINY
from probe.stand_in import StandIn, run_plan, write_tones
from rich.console import Console
from typer.testing import CliRunner

from emotion2vec.checkpoint.heard import Heard, utterance_key
from emotion2vec.cli import app
from emotion2vec.corpora.folds import make_folds
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.corpora.validation import selection_fold
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.probe import probe
from emotion2vec.probe.benchmark.loading import load_plan
from emotion2vec.report.tables import fold_table


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of half a second and more, by three speakers, of whom pretraining hears the first two."""
    folder = tmp_path_factory.mktemp("speech")
    rng, lines = np.random.default_rng(0), ["file,emotion,speaker"]
    for number in range(18):
        speaker, label = "abc"[number % 3], ("calm", "angry")[number // 3 % 2]
        tone = np.sin(2 * np.pi * (300 if label == "calm" else 900) * np.arange(9_000 + 400 * number) / 16_000)
        file = f"{'out' if speaker == 'c' else 'in'}/{speaker}{number}.wav"
        (folder / file).parent.mkdir(exist_ok=True)
        soundfile.write(folder / file, 0.3 * tone + 0.02 * rng.normal(size=len(tone)), 16_000)
        lines.append(f"{file},{label},{speaker}")
    (folder / "speech.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    settings = [*TINY, f"data.train={speech / 'in'}", f"run.dir={folder}", "optim.accumulate=4", "log.progress=false"]
    pretrain(load_config(None, settings), say=lambda text: None)
    return folder


def test_a_probe_marks_what_pretraining_heard(speech: Path, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    options = ["--features", "logmel", "--features", "untrained", "--model", str(run), "--head", "logreg"]
    arguments = ["probe", "--table", str(speech / "speech.csv"), *options, "--output", str(output)]
    found = CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments)
    assert found.exit_code == 0, found.output
    document = json.loads(output.read_text())
    known = {row["feature"]: row["transductive"] for row in document["results"]}
    assert known[str(run)] == {"audio": pytest.approx(2 / 3, abs=1e-3), "labels": 0.0}
    assert known["logmel"] == known["untrained"] == {"audio": 0.0, "labels": 0.0}
    (said,) = [text for text in document["warnings"] if "transductive" in text]
    assert "was trained on the audio of 67% of the tested clips" in said
    assert found.output.count("(transductive)") >= 2  # its own table, and the summary


def test_the_report_marks_it(speech: Path, run: Path, tmp_path: Path) -> None:
    config = tmp_path / "plan.yaml"
    config.write_text(
        f"corpora: [{{table: {speech / 'speech.csv'}, title: x}}]\n"
        f"features: [logmel, {{name: {run}, title: ours}}]\noutput: {tmp_path / 'out'}"
    )
    run_plan(load_plan(config))
    rows = {row["feature"]: row for row in csv.DictReader((tmp_path / "out" / "results.csv").open())}
    assert (rows["ours"]["transductive"], rows["logmel"]["transductive"]) == ("True", "False")
    for name in ("results.md", "results.tex", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "ours (transductive)" in text and "logmel (transductive)" not in text, name


def test_a_network_that_does_not_say_is_unknown(tmp_path: Path) -> None:
    result = probe(table=write_tones(tmp_path), features=[StandIn()], heads=["logreg"]).results[0]
    assert result["transductive"] is None
    Console(quiet=True).print(fold_table(result))


def test_labels_that_chose_a_checkpoint_are_marked(tmp_path: Path) -> None:
    model = StandIn()
    table = write_tones(tmp_path)
    chosen = probe(table=table, features=[model], heads=["logreg"], select=True)
    selection = chosen.about["selection"]
    assert len(selection["speakers"]) == 1 and len(selection["keys"]) == selection["clips"] == 8
    assert chosen.results[0]["folds"][0]["test_speakers"] == selection["speakers"]
    model.heard = Heard().with_more(labels=selection["keys"])
    result = probe(table=table, features=[model], heads=["logreg"])
    assert result.results[0]["transductive"] == {"audio": 0.0, "labels": 0.25}
    assert any("was chosen by the labels of 25% of the tested clips" in text for text in result.about["warnings"])


def clips_of(speakers: int, split: str | None = None) -> list[Utterance]:
    return [
        Utterance(
            id=f"{split}{s}-{i}",
            file=f"{split}{s}-{i}",
            audio=Path(f"{s}-{i}"),
            label="ab"[i % 2],
            speaker=f"{split}{s}",
            split=split,
        )
        for s in range(speakers)
        for i in range(4)
    ]


@pytest.mark.parametrize("valid", [True, False])
def test_choosing_never_sees_an_official_test(valid: bool) -> None:
    clips = clips_of(5, "train") + clips_of(2, "test") + (clips_of(2, "valid") if valid else [])
    fold = selection_fold(clips, make_folds(Corpus(name="x", root=Path(), utterances=tuple(clips)), "official"))
    assert not any(clips[i].split == "test" for i in [*fold.train, *fold.test])
    if valid:
        assert {clips[i].split for i in fold.test} == {"valid"}
    assert not {clips[i].speaker for i in fold.train} & {clips[i].speaker for i in fold.test}


def test_where_all_are_tested_a_fifth_of_the_speakers_chooses() -> None:
    clips = clips_of(10)
    fold = selection_fold(clips, make_folds(Corpus(name="x", root=Path(), utterances=tuple(clips)), "speaker"))
    assert len(fold.test_speakers) == 2 and len(fold.train) == 32 and not fold.shared_speakers


def test_a_run_records_what_it_has_heard(run: Path, speech: Path) -> None:
    from emotion2vec.checkpoint import load_model

    heard = load_model(run).heard
    paths = sorted((speech / "in").iterdir())
    assert heard.share("audio", [utterance_key(p.name, soundfile.info(p).duration) for p in paths]) == 1.0
    assert len(heard.audio) == len(paths)
