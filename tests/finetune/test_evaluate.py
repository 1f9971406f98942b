"""A model tested on labelled speech: labels that mean the same, clips it learnt from, and scores of scikit-learn."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from finetune.talkers import quick_config, write_talkers
from scipy.special import log_softmax, softmax
from scipy.stats import pearsonr
from sklearn.metrics import (
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.evaluation.plan import load_plan
from emotion2vec.finetune.evaluation.run import Evaluated, evaluate
from emotion2vec.finetune.run import finetune
from emotion2vec.report.run import write_run_report
from emotion2vec.report.tested import write_test_report

NAMES = {"anger": "Angry", "neutral": "neutral", "sadness": "sad"}


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def tuned(talkers: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a model that is right more often than not."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    finetune(quick_config(talkers, model, folder, "optim.max_updates=6", "validation.every=6"), silent)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of other talkers, whose labels are spelled otherwise, with a label that the model does not know."""
    folder = tmp_path_factory.mktemp("others")
    rows = list(csv.DictReader(write_talkers(folder, speakers=5).open()))
    for number, row in enumerate(rows):
        new = f"other{number}.wav"
        (folder / row["file"]).rename(folder / new)
        row |= {"file": new, "emotion": NAMES[row["emotion"]], "arousal": str(number % 5)}
    soundfile.write(folder / "bored.wav", np.zeros(8_000), 16_000)
    rows.append({"file": "bored.wav", "emotion": "boredom", "speaker": "s0", "gender": "male", "arousal": "1"})
    with (folder / "others.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "others.csv"


def judge(model: Path, table: Path, output: Path, *more: str) -> Evaluated:
    words = [f"model={model}", f"data.table={table}", f"output={output}", "data.workers=0", "device=cpu", *more]
    return evaluate(load_plan(words), silent)


def logits(model: Path, table: Path) -> tuple[list[str], np.ndarray]:
    """Labels of a table's clips as the model names them, and logarithms of its probabilities, clip by clip."""
    network, names = load_model(model), {spelled: label for label, spelled in NAMES.items()}
    rows = [row for row in csv.DictReader(table.open()) if row["emotion"] in names]
    found = [network.predict(table.parent / row["file"]) for row in rows]
    return [names[row["emotion"]] for row in rows], np.log([[one[label] for label in NAMES] for one in found])


def test_scores_are_those_of_scikit_learn(tuned: Path, others: Path, tmp_path: Path) -> None:
    done = judge(tuned, others, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert done.scores.to_dict() == document
    labels, logs = logits(tuned, others)
    truth, found = np.array([list(NAMES).index(label) for label in labels]), logs.argmax(axis=1)
    assert document["mapping"]["others"] == {"Angry": "anger", "boredom": "", "neutral": "neutral", "sad": "sadness"}
    assert any("boredom, which is not told apart, 1 clip is left out" in warning for warning in document["warnings"])
    assert document["confusion"] == confusion_matrix(truth, found).tolist()
    assert document["pooled"]["WA"] == pytest.approx(100 * np.mean(truth == found))
    assert document["pooled"]["UA"] == pytest.approx(100 * recall_score(truth, found, average="macro"))
    assert document["pooled"]["WF1"] == pytest.approx(100 * f1_score(truth, found, average="weighted"))
    assert document["pooled"]["MF1"] == pytest.approx(100 * f1_score(truth, found, average="macro"))
    expected = precision_recall_fscore_support(truth, found, zero_division=np.nan)
    for place, label in enumerate(NAMES):
        row = document["by_class"][label]
        for name, value in zip(("precision", "recall", "F1", "clips"), expected, strict=True):
            wanted = value[place] * (1 if name == "clips" else 100)
            assert row[name] is None if np.isnan(wanted) else row[name] == pytest.approx(wanted), (label, name)
    temperature = json.loads((tuned / "finetuned.json").read_text())["temperature"]
    raw = log_softmax(logs * temperature, axis=1)  # as training left them
    for place, label in enumerate(NAMES):
        assert document[f"AUC {label}"] == pytest.approx(100 * roc_auc_score(truth == place, raw[:, place]), abs=0.2)
    for name, shares in (("as trained", softmax(raw, axis=1)), ("calibrated", np.exp(logs))):
        rows, right = document["reliability"][name], shares.argmax(axis=1) == truth
        assert sum(row["clips"] for row in rows) == len(truth)
        assert sum(row["clips"] * row["right"] for row in rows) == pytest.approx(100 * right.sum())
        assert sum(row["clips"] * row["confidence"] for row in rows) == pytest.approx(100 * shares.max(axis=1).sum())


def test_groups_and_speakers_are_scored_apart(tuned: Path, others: Path, tmp_path: Path) -> None:
    document = judge(tuned, others, tmp_path).scores.to_dict()
    labels, logs = logits(tuned, others)
    rows = [row for row in csv.DictReader(others.open()) if row["emotion"] in NAMES.values()]
    truth, found = np.array([list(NAMES).index(label) for label in labels]), logs.argmax(axis=1)
    for gender in ("female", "male"):
        own = np.array([row["gender"] == gender for row in rows])
        assert document["by_group"]["gender"][gender]["clips"] == own.sum()
        assert document["by_group"]["gender"][gender]["WA"] == pytest.approx(100 * np.mean((truth == found)[own]))
    for row in document["by_speaker"]:
        own = np.array([other["speaker"] == row["speaker"] for other in rows])
        assert row["clips"] == own.sum() == 6 and row["WA"] == pytest.approx(100 * np.mean((truth == found)[own]))
    wrong = sorted(np.exp(logs).max(axis=1)[truth != found], reverse=True)
    assert [row["probability"] for row in document["hardest"]] == pytest.approx(wrong[:20], abs=1e-3)


def test_clips_that_the_model_learnt_from_are_found(tuned: Path, talkers: Path, others: Path, tmp_path: Path) -> None:
    lines = others.read_text().splitlines()
    heads, known = lines[0].split(","), next(iter(csv.DictReader(talkers.open())))
    row = ["0", *[""] * (len(heads) - 1)]
    row[heads.index("file")], row[heads.index("emotion")] = str(talkers.parent / known["file"]), known["emotion"]
    row[heads.index("speaker")] = "known"
    table = others.with_name("mixed.csv")
    table.write_text("\n".join([*lines, ",".join(row)]) + "\n")
    with pytest.raises(ConfigError, match=r"learnt from 1 of 31 clips.*known=leave-out"):
        judge(tuned, table, tmp_path)
    kept = judge(tuned, table, tmp_path, "known=keep").scores
    assert kept.about.clips == 31 and any("transductive" in warning for warning in kept.about.warnings)
    assert judge(tuned, table, tmp_path, "known=leave-out").scores.about.clips == 30
    with pytest.raises(ConfigError, match="leaves none to test on"):
        judge(tuned, talkers, tmp_path, "known=leave-out")


def test_labels_and_classes_are_those_of_the_model(tuned: Path, others: Path, tmp_path: Path) -> None:
    found = judge(tuned, others, tmp_path, "data.labels=[boredom=sadness]").scores.about
    assert found.clips == 31 and found.clips_per_class == {"anger": 10, "neutral": 10, "sadness": 11}
    two = judge(tuned, others, tmp_path, "data.classes=[anger,sadness]").scores
    assert two.about.clips == 20 and np.array(two.results[0].confusion).shape == (2, 2)
    with pytest.raises(ConfigError, match=r"boredom=joy, which the model does not know; it has anger, neutral"):
        judge(tuned, others, tmp_path, "data.labels=[boredom=joy]")
    with pytest.raises(ConfigError, match="known is 'never'"):
        judge(tuned, others, tmp_path, "known=never")
    with pytest.raises(ConfigError, match="no label is one of the model's"):
        judge(tuned, others, tmp_path, "data.labels=[Angry=,neutral=,sad=]")
    table = others.with_name("one.csv")  # a single class can be tested
    table.write_text("\n".join(line for line in others.read_text().splitlines() if "Angry" in line or "file" in line))
    assert judge(tuned, table, tmp_path).scores.about.clips_per_class == {"anger": 10}


def test_conditions_start_with_the_plain_score(tuned: Path, others: Path, tmp_path: Path) -> None:
    asked = ["robustness=[snr,gain,adversarial]", "snr=[60,-20]", "gain=[0]", "epsilon=[1e-6,1.0]"]
    done = judge(tuned, others, tmp_path, *asked)
    (scores,) = done.scores.results
    rows = {(row["kind"], row["level"]): row for row in scores.robustness}
    plain = {name: scores.pooled[name] for name in ("WA", "UA", "WF1", "MF1")}
    for key in (("none", ""), ("gain", "+0 dB")):
        assert {name: rows[key][name] for name in plain} == plain
    assert rows["none", ""]["interval"] == list(scores.intervals["UA"])
    assert rows["FGSM", "ε 1e-06"]["WA"] == pytest.approx(plain["WA"], abs=7)
    assert rows["FGSM", "ε 1"]["WA"] < plain["WA"]
    again = judge(tuned, others, tmp_path / "again", *asked[:1], "snr=[-20]", "gain=[0]", "epsilon=[1.0]")
    other = {(row["kind"], row["level"]): row for row in again.scores.results[0].robustness}
    assert len(other) > 3 and all(rows[key] == row for key, row in other.items())
    page = write_test_report(tmp_path / "again").read_text()
    assert "Robustness" in page and "SNR -20 dB" in page and "<script" not in page and "http" not in page


def test_values_are_scored(others: Path, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    more = ["data.targets=[arousal]", "data.balance=none", "optim.max_updates=2"]
    finetune(quick_config(others, model, run, *more), silent)
    (scores,) = judge(run, others, tmp_path / "out", "known=keep").scores.results
    network = load_model(run)
    rows = list(csv.DictReader(others.open()))
    truth = np.array([float(row["arousal"]) for row in rows])
    found = np.array([network.predict(others.parent / row["file"])["arousal"] for row in rows])
    spread = truth.var() + found.var() + (truth.mean() - found.mean()) ** 2
    assert scores.pooled["CCC"] == pytest.approx(2 * np.cov(truth, found, bias=True)[0, 1] / spread, abs=1e-4)
    assert scores.pooled["MAE"] == pytest.approx(mean_absolute_error(truth, found), abs=1e-4)
    assert scores.pooled["Pearson"] == pytest.approx(pearsonr(truth, found)[0], abs=1e-3)
    own = np.array([row["gender"] == "female" for row in rows])
    group = scores.by_group["gender"]["female"]
    assert group["clips"] == own.sum() and group["MAE"] == pytest.approx(np.abs(truth - found)[own].mean(), abs=1e-4)


def test_the_page_of_a_run_holds_what_its_folder_does(tuned: Path, others: Path) -> None:
    judge(tuned, others, tuned / "tests" / "<others>")
    page = write_run_report(tuned).read_text()
    for text in ("Data", "Training", "Held-out clips", "Test on &lt;others&gt;", "Reliability", "optim:", "flatter"):
        assert text in page, text
    assert "<others>" not in page and "<script" not in page and "http" not in page
    document = json.loads((tuned / "validation.json").read_text())
    facts = json.loads((tuned / "finetuned.json").read_text())
    assert document["pooled"]["UA"] == pytest.approx(facts["validation"]["UA"])
    assert document["ECE"] == pytest.approx(facts["calibration_error_before"], abs=1e-3)
    assert document["ECE calibrated"] == pytest.approx(facts["calibration_error"], abs=1e-3)
    card = (tuned / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: emotion2vec\nlicense: unknown\n")
    counts = json.loads((tuned / "data.json").read_text())
    assert f"| all | {counts['parts']['train']['clips']} / {counts['parts']['train']['speakers']} |" in card
    with pytest.raises(ConfigError, match=r"has no data\.json, expected a run folder"):
        write_run_report(others.parent)


def test_a_part_of_the_split_is_tested(tuned: Path, others: Path, tmp_path: Path) -> None:
    rows = others.read_text().splitlines()
    parts = {"s0": "train", "s1": "dev", "s2": "test", "s3": "TEST", "s4": "test"}
    own = [rows[0] + ",split", *(f"{row},{parts[row.split(',')[2]]}" for row in rows[1:])]
    table = others.with_name("parts.csv")
    table.write_text("\n".join(own) + "\n")
    alone = others.with_name("alone.csv")
    alone.write_text("\n".join(row for row in rows if row.split(",")[2] not in ("s0", "s1")) + "\n")
    found = judge(tuned, table, tmp_path / "own", "split=Testing").scores
    assert found.about.clips == 18
    assert found.results[0].confusion == judge(tuned, alone, tmp_path / "alone").scores.results[0].confusion
    split = others.with_name("split.csv")
    split.write_text(
        "\n".join(["file,fold", *(f"{row.split(',')[0]},{number % 2}" for number, row in enumerate(rows[1:]))])
    )
    assert judge(tuned, others, tmp_path / "fold", f"data.split={split}", "split=1").scores.about.clips == 15
    there = r"no clip is of the part 'eval2', expected one that there is: test \(18 clips\), train \(6 clips\), valid"
    with pytest.raises(ConfigError, match=there):
        judge(tuned, table, tmp_path, "split=eval2")
    with pytest.raises(
        ConfigError, match=r"no clip is of the part 'test', and no clip has any, expected a column split"
    ):
        judge(tuned, others, tmp_path, "split=test")
    plan = load_plan([f"model={tuned}", f"data.table={table}", "data.workers=0", "device=cpu", "split=test"])
    assert evaluate(plan, silent).folder == tuned / "tests" / "parts-test"
