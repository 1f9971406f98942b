"""Cross-validation: no test clip is learnt from or chosen by, folds are resumed one by one, scores are a probe's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import quick_config, write_talkers
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score

from emotion2vec.checkpoint import load_model
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.finetune import folds, refit
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.splits import Split
from emotion2vec.probe.results import ProbeResult
from emotion2vec.report.run import write_run_report
from emotion2vec.training.trainer import FitResult

QUICKER = ["evaluate.folds=speaker", "optim.max_updates=2", "finetune.strategy=frozen"]


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def validated(talkers: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished cross-validation over four talkers."""
    folder = tmp_path_factory.mktemp("validated")
    finetune(quick_config(talkers, model, folder, *QUICKER), silent)
    return folder


def test_every_fold_has_a_model_and_a_score_in_the_form_of_a_probe(validated: Path, talkers: Path) -> None:
    document = json.loads((validated / "scores.json").read_text())
    result = ProbeResult.from_dict(document)
    assert [fold["name"] for fold in document["folds"]] == ["s0", "s1", "s2", "s3"]
    assert [fold["test_speakers"] for fold in document["folds"]] == [["s0"], ["s1"], ["s2"], ["s3"]]
    assert {"WA", "UA", "WF1"} <= document["folds"][0].keys() and {"mean", "std", "pooled"} <= document.keys()
    assert document["intervals_over"] == "speakers" and document["settings"]["seeds"] == [0]
    assert "held-out speakers of training" in document["settings"]["selection"]
    for number, fold in enumerate(result.results[0].folds, 1):
        assert not set(fold.chosen[0]["validation_speakers"]) & set(fold.test_speakers)
        tuned = load_model(validated / "folds" / f"{number:02d}_{fold.name}")
        names = [f"{fold.name}_{label}_{take}.wav" for label in ("anger", "neutral", "sadness") for take in (0, 1)]
        found = [max((scores := tuned.predict(talkers.parent / name)), key=scores.__getitem__) for name in names]
        truth = [name.split("_")[1] for name in names]
        assert fold.scores["UA"] == pytest.approx(100 * balanced_accuracy_score(truth, found))
    assert document["mean"]["UA"] == pytest.approx(np.mean([fold["UA"] for fold in document["folds"]]))


def test_the_last_model_learns_from_everybody(validated: Path) -> None:
    assert load_model(validated).head is not None
    assert not (validated / "folds" / "05_all").exists()


def models(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted(folder.glob("folds/*/model.safetensors"))]


def test_labels_of_a_test_teach_its_model_nothing(talkers: Path, model: Path, validated: Path, tmp_path: Path) -> None:
    """Labels of a talker who validates nowhere are turned round: only the model that tests him stays, bit for bit."""
    chosen = [fold["chosen"][0] for fold in json.loads((validated / "scores.json").read_text())["folds"]]
    who = min({"s0", "s1", "s2", "s3"} - {name for one in chosen for name in one["validation_speakers"]})
    turn = {"anger": "sadness", "sadness": "neutral", "neutral": "anger"}
    rows = [line.split(",") for line in talkers.read_text().splitlines()]
    turned = [",".join([row[0], turn[row[1]], *row[2:]] if row[2] == who else row) for row in rows]
    other = talkers.with_name("turned.csv")
    other.write_text("\n".join(turned) + "\n")
    finetune(quick_config(other, model, tmp_path, *QUICKER, "evaluate.final=false"), silent)
    same = [
        all(torch.equal(value, theirs[name]) for name, value in ours.items())
        for ours, theirs in zip(models(tmp_path), models(validated), strict=True)
    ]
    assert same == [name == who for name in ("s0", "s1", "s2", "s3")]


def test_the_test_above_sees_a_leak(
    talkers: Path, model: Path, validated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit: Callable[..., FitResult] = refit.fit

    def leaky(config: FinetuneConfig, corpus: Corpus, split: Split, **how: object) -> FitResult:
        everybody = np.arange(len(corpus.utterances))
        return fit(config, corpus, Split(np.setdiff1d(everybody, split.valid), split.valid, split.held), **how)

    monkeypatch.setattr(refit, "fit", leaky)
    with pytest.raises(AssertionError):
        test_labels_of_a_test_teach_its_model_nothing(talkers, model, validated, tmp_path)


def test_finished_folds_are_taken_as_they_are(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick_config(talkers, model, tmp_path, *QUICKER, "evaluate.final=false")
    fit, trained = refit.fit, []

    def interrupted(config: FinetuneConfig, corpus: Corpus, split: Split, **how: object) -> FitResult:
        trained.append(Path(config.run.dir).name)
        return FitResult(1, 15) if len(trained) == 3 else fit(config, corpus, split, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(refit, "fit", interrupted)
    assert finetune(config, silent).result.signal == 15 and not (tmp_path / "scores.json").exists()
    assert finetune(config, silent).scores is not None
    assert trained == ["01_s0", "02_s1", "03_s2", "03_s2", "04_s3"]
    page = write_run_report(tmp_path).read_text()
    assert "models of the folds, and none of all clips" in page
    assert "<summary>Configuration</summary>" in page
    changed = quick_config(talkers, model, tmp_path, *QUICKER, "evaluate.final=false", "optim.lr=0.5")
    with pytest.raises(ConfigError, match=r"01_s0 holds a run with other settings.*\n.*optim.lr is 0.01 there and 0.5"):
        finetune(changed, silent)


def test_scores_without_speakers_are_marked(talkers: Path, model: Path, tmp_path: Path) -> None:
    lines = [line.rsplit(",", 2)[0] for line in talkers.read_text().splitlines()]
    table = talkers.with_name("nobody.csv")
    table.write_text("\n".join(lines) + "\n")
    settings = ["evaluate.folds=random", "optim.max_updates=1", "finetune.strategy=frozen", "evaluate.final=false"]
    with pytest.raises(ConfigError, match="have no speaker"):
        finetune(quick_config(table, model, tmp_path / "refused", *settings), silent)
    finetune(quick_config(table, model, tmp_path / "run", *settings, "data.speakers=false"), silent)
    document = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert folds.WITHOUT_SPEAKERS in document["warnings"]
    assert "held-out clips of training" in document["settings"]["selection"]


def test_a_class_that_a_fold_cannot_learn_is_named(model: Path, tmp_path: Path) -> None:
    table = write_talkers(tmp_path / "talkers")
    kept = [line for line in table.read_text().splitlines() if "sadness" not in line or "s2_" in line]
    table.write_text("\n".join(kept) + "\n")
    with pytest.raises(ConfigError, match=r"fold s2 has no clip of sadness to train on; expected some"):
        finetune(quick_config(table, model, tmp_path / "run", *QUICKER), silent)


def test_tests_are_scored_under_conditions_and_with_few_clips(talkers: Path, model: Path, tmp_path: Path) -> None:
    more = ["evaluate.folds=speaker:2", "evaluate.final=false", "evaluate.shots=[1]", "evaluate.seeds=[0,1]"]
    settings = [*QUICKER[1:], *more, "evaluate.robustness=[gain,snr]", "evaluate.gain=[0]", "evaluate.snr=[-10]"]
    done = finetune(quick_config(talkers, model, tmp_path, *settings), silent)
    assert done.scores is not None
    (scores,) = done.scores.results
    plain, noisy, gain = scores.robustness
    assert (plain["kind"], noisy["kind"], gain["kind"]) == ("none", "pink noise", "gain")
    metrics = {name: scores.pooled[name] for name in ("WA", "UA", "WF1", "MF1")}
    assert {name: plain[name] for name in metrics} == metrics == {name: gain[name] for name in metrics}
    assert plain["interval"] == list(scores.intervals["UA"])
    few, whole = scores.shots
    assert (few.count, whole.count) == (1, None) and {name: whole.scores[name] for name in metrics} == metrics
    found = []
    for seed in (0, 1):
        folders = [tmp_path / "folds" / f"0{fold}_group-{fold}_seed{seed}_shots1" for fold in (1, 2)]
        said = [json.loads((folder / "test.json").read_text()) for folder in folders]
        assert not any(one["distorted"] for one in said)
        pairs = [
            (name.split("_")[1], ("anger", "neutral", "sadness")[int(np.argmax(row))])
            for one in said
            for name, row in zip(one["ids"], one["scores"], strict=True)
        ]
        found.append(100 * balanced_accuracy_score(*zip(*pairs, strict=True)))
    assert few.scores["UA"] == pytest.approx(np.mean(found)) and few.std == pytest.approx(np.std(found))
    again = quick_config(talkers, model, tmp_path, *settings[:-1], "evaluate.snr=[-20]")
    finetune(again, silent)  # tests anew, and trains nothing
    levels = [row["level"] for row in json.loads((tmp_path / "scores.json").read_text())["robustness"]]
    assert levels == ["", "SNR -20 dB", "+0 dB"]


def test_calibration_is_told_before_and_after(validated: Path) -> None:
    document = json.loads((validated / "scores.json").read_text())
    assert document["ECE"] is not None and document["ECE calibrated"] is not None
    assert {"as trained", "calibrated"} == document["reliability"].keys()
    for number, fold in enumerate(document["folds"], 1):
        facts = json.loads((validated / "folds" / f"0{number}_{fold['name']}" / "finetuned.json").read_text())
        assert fold["chosen"][0]["temperature"] == facts["temperature"]
