"""Heads beside the main one in tests: scores of scikit-learn, conditions, few clips, pages and cards."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import QUICK, quick_config, write_talkers
from finetune.test_evaluate import judge
from finetune.test_goals import silent
from sklearn.metrics import recall_score

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError, Emotion2vecError
from emotion2vec.finetune.aims import taught_by
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.joint import JointSettings
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.finetune.run import finetune
from emotion2vec.report.run import write_run_report
from emotion2vec.report.tested import write_test_report
from emotion2vec.tasks.metrics import concordance

Rows = list[dict[str, str]]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def talking(folder: Path, prefix: str, **how: int) -> tuple[Path, Rows]:
    """Talkers of whom each has clips of both genders and four levels, their files under names of their own."""
    rows = list(csv.DictReader(write_talkers(folder, **how).open()))
    for number, row in enumerate(rows):
        new = f"{prefix}{row['file']}"
        (folder / row["file"]).rename(folder / new)
        row |= {"file": new, "gender": ("male", "female")[number % 2], "level": f"{1 + number % 4}"}
    return folder, rows


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run on two folds with a head for genders and one for levels."""
    folder, rows = talking(tmp_path_factory.mktemp("known"), "a")
    table = write(folder / "table.csv", rows)
    settings = ["joint.classes=[gender=0.3]", "joint.values=[level=0.5]", "optim.max_updates=2", "validation.every=2"]
    settings += ["evaluate.folds=speaker:2", "evaluate.robustness=[gain]", "evaluate.gain=[0]"]
    finetune(quick_config(table, model, folder / "run", *settings), silent)
    return folder / "run"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of other talkers: genders are spelled otherwise, some clips have no emotion and others no level."""
    folder, rows = talking(tmp_path_factory.mktemp("others"), "b", speakers=3)
    for number, row in enumerate(rows):
        row["gender"] = "unsaid" if number == 0 else row["gender"].title()
        row["level"] *= number % 3 != 1
        row["emotion"] *= number % 6 != 2
    return write(folder / "others.csv", rows)


def answers(run: Path, table: Path) -> tuple[Rows, dict[str, np.ndarray]]:
    """Rows of a table, and the scores (N, K) of each head, clip by clip."""
    network, rows = load_model(run), list(csv.DictReader(table.open()))
    with torch.inference_mode():
        heard = [torch.from_numpy(load_audio(table.parent / row["file"]))[None] for row in rows]
        said = [network.all_scores(network(one)) for one in heard]
    return rows, {name: np.concatenate([one[name].numpy() for one in said]) for name in said[0]}


def test_every_head_is_scored_where_the_table_has_its_target(run: Path, others: Path, tmp_path: Path) -> None:
    done = judge(run, others, tmp_path, "robustness=[gain,adversarial]", "gain=[0,-60]", "epsilon=[0.01]")
    document = json.loads((tmp_path / "scores.json").read_text())
    assert done.scores.to_dict() == document and document["further"].keys() == {"gender", "level"}
    rows, said = answers(run, others)
    main = [number for number, row in enumerate(rows) if row["emotion"]]
    truth = [row["emotion"] for row in rows]
    names = ("anger", "neutral", "sadness")
    expected = recall_score([truth[n] for n in main], [names[said[""][n].argmax()] for n in main], average="macro")
    assert document["clips"] == len(main) == 15 and document["pooled"]["UA"] == pytest.approx(100 * expected)

    genders = [row["gender"].lower() for row in rows][1:]
    found = [("female", "male")[row.argmax()] for row in said["gender"]][1:]
    gender = document["further"]["gender"]
    assert gender["pooled"]["UA"] == pytest.approx(100 * recall_score(genders, found, average="macro"))
    assert gender["by_class"]["female"]["clips"] == genders.count("female") and len(gender["by_speaker"]) == 3
    assert gender["reliability"].keys() == {"as trained", "calibrated"}
    own = [number for number, row in enumerate(rows) if row["level"]]
    levels = np.array([[float(rows[n]["level"])] for n in own])
    level = document["further"]["level"]
    assert level["pooled"]["CCC"] == pytest.approx(concordance(levels, said["level"][own].astype(float))[0], abs=1e-4)

    for scores in (document, gender, level):
        plain, same, quiet, *attacked = scores["robustness"]
        name = scores["main"]
        assert plain[name] == same[name] == pytest.approx(scores["pooled"][name]) and quiet["level"] == "-60 dB"
        assert len(attacked) == (scores is document)  # which are made against the main head
    page = write_test_report(tmp_path).read_text()
    assert "gender: 17 clips" in page and "level: 12 clips" in page


def test_values_are_the_main_target_or_another(run: Path, others: Path, model: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(others.open()))
    table = write(others.with_name("full.csv"), [row | {"level": row["level"] or "2"} for row in rows])
    settings = [
        "data.targets=[level]",
        "joint.classes=[emotion=0.5]",
        "optim.max_updates=1",
        "finetune.calibrate=false",
    ]
    finetune(quick_config(table, model, tmp_path / "run", *settings), silent)
    judge(tmp_path / "run", others, tmp_path / "out", "known=keep")
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert document["main"] == "CCC" and document["clips"] == 12
    assert document["further"]["emotion"]["main"] == "UA"
    assert document["further"]["emotion"]["by_class"]["anger"]["clips"] == sum(r["emotion"] == "anger" for r in rows)


def test_targets_that_a_table_lacks_are_passed_over(run: Path, others: Path, tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("file", "emotion", "speaker")} for row in csv.DictReader(others.open())]
    table = write(others.with_name("plain.csv"), rows)
    assert judge(run, table, tmp_path).scores.about.clips == 15
    assert "further" not in json.loads((tmp_path / "scores.json").read_text())
    with pytest.raises(ConfigError, match=r"no label is one of the model's"):
        judge(run, write(others.with_name("none.csv"), [row | {"emotion": ""} for row in rows]), tmp_path)


def test_folds_score_heads_under_conditions(run: Path) -> None:
    document = json.loads((run / "scores.json").read_text())
    for scores in (document, *document["further"].values()):
        plain, same = scores["robustness"]
        assert plain[scores["main"]] == same[scores["main"]] == pytest.approx(scores["pooled"][scores["main"]])


def test_the_card_and_the_page_of_a_run_have_every_head(run: Path) -> None:
    validation = json.loads((run / "validation.json").read_text())["further"]
    facts = json.loads((run / "finetuned.json").read_text())["validation"]
    assert validation["gender"]["pooled"]["UA"] == pytest.approx(facts["gender_UA"], abs=1e-3)
    assert validation["level"]["pooled"]["CCC"] == pytest.approx(facts["level_CCC"], abs=1e-3)
    text = (run / "README.md").read_text()
    assert text.count("The same, gender (") == text.count("The same, level (") == 2
    assert write_run_report(run).read_text().count("<summary>gender: ") == 2


def test_few_clips_teach_what_differs_among_them(tmp_path: Path, model: Path) -> None:
    folder, rows = talking(tmp_path / "talkers", "c")
    settings = ["joint.classes=[gender=0.3]", "optim.max_updates=1", "evaluate.folds=speaker:2", "evaluate.final=false"]
    config = quick_config(write(folder / "table.csv", rows), model, tmp_path / "run", *settings, "evaluate.shots=[3]")
    finetune(config, silent)
    document = json.loads((tmp_path / "run" / "scores.json").read_text())
    gender = document["further"]["gender"]
    assert [shot["count"] for shot in gender["shots"]] == [shot["count"] for shot in document["shots"]] == [3, None]
    assert gender["shots"][-1]["scores"]["UA"] == pytest.approx(gender["pooled"]["UA"])

    asked = JointSettings(classes=["gender=1", "emotion=2"], values=["level=1"], reversed=["speaker=1"])
    corpus = read_labelled(config.data, asked).utterances
    assert taught_by(asked, corpus) == asked
    women = [clip for clip in corpus if clip.gender == "female"]
    assert taught_by(asked, women) == replace(asked, classes=["emotion=2"])
    assert taught_by(asked, women[:1]) == JointSettings()


def test_further_values_of_several_corpora_are_brought_to_one_scale(tmp_path: Path) -> None:
    tables = {}
    for name, top in (("a", 4.0), ("b", 40.0)):
        folder, rows = talking(tmp_path / name, name, takes=1)
        for number, row in enumerate(rows):
            row["level"] = f"{top * float(row['level']) / 4:g}" if number % 3 else ""
        tables[name] = write(folder / f"{name}.csv", rows)
    corpora = f"data.corpora=[a={tables['a']},b={tables['b']}]"
    base = [*QUICK, corpora, "joint.values=[level=0.5]", f"run.dir={tmp_path / 'run'}"]
    config = load_config(None, [*base, "data.ranges=[a=0..4,b.level=0..40]"])
    found = read_labelled(config.data, config.joint)
    assert {round(clip.values["level"], 9) for clip in found.utterances if clip.values} == {0.25, 0.5, 0.75, 1.0}
    assert len(found.utterances) == 24 and sum(bool(clip.values) for clip in found.utterances) == 16
    assert "level is brought to 0..1, which predictions are in too: 0..4 of a, 0..40 of b" in found.warnings
    for more, message in (
        ([], r"level goes from 1 to 4 in a, from 10 to 40 in b, and the scale of a and b is not stated"),
        (["data.ranges=[a=0..4]"], r"the scale of b is not stated"),
        (["data.ranges=[0..4]"], r"b: level of 8 clips is not in 0..4"),
        (["data.ranges=[height=0..4]"], r"data.ranges names height, expected a corpus \(a, b\), a value \(level\)"),
    ):
        config = load_config(None, [*base, *more])
        with pytest.raises(Emotion2vecError, match=message):
            read_labelled(config.data, config.joint)
    with pytest.raises(ConfigError, match=r"data.ranges is given and data.targets and joint.values are empty"):
        load_config(None, [*QUICK, corpora, f"run.dir={tmp_path / 'run'}", "data.ranges=[1..5]"])


def test_folds_that_cannot_teach_a_target_are_named_before_any_training(talkers: Path, tmp_path: Path) -> None:
    settings = ["joint.classes=[gender=0.3]", "evaluate.folds=speaker:2"]  # a speaker is of one gender, and one trains
    with pytest.raises(
        ConfigError, match=r"fold group-1 has fewer than 2 classes or values of gender to train on; fold"
    ):
        finetune(quick_config(talkers, Path("m"), tmp_path / "run", *settings, "evaluate.final=false"), silent)
    assert not (tmp_path / "run").exists()
