"""What is learnt and how it is judged: classes, shares of raters and values, and one temperature for all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import quick_config
from finetune.test_run import metrics
from sklearn.metrics import balanced_accuracy_score, log_loss

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.predict import predict
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.config import FinetuneConfig, LabelledData
from emotion2vec.finetune.goals import ClassGoal, ValueGoal
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.splits import whole_split
from emotion2vec.finetune.strategy import Thawing
from emotion2vec.finetune.task import make_task
from emotion2vec.tasks.class_losses import ClassLoss
from emotion2vec.tasks.metrics import concordance
from emotion2vec.tasks.scaling import Scaling


def silent(text: str) -> None:
    pass


def with_columns(talkers: Path, name: str, columns: dict[str, list[str]]) -> Path:
    """The talkers' table with further columns, beside it."""
    rows = talkers.read_text().splitlines()
    added = [",".join(columns), *(",".join(cells) for cells in zip(*columns.values(), strict=True))]
    table = talkers.with_name(name)
    table.write_text("\n".join(f"{row},{more}" for row, more in zip(rows, added, strict=True)) + "\n")
    return table


@pytest.fixture(scope="module")
def valued(talkers: Path) -> Path:
    """Talkers whose arousal (0 to 100) follows their pitch, and whose valence (0 to 1) is their number."""
    labels = [row.split(",")[1] for row in talkers.read_text().splitlines()[1:]]
    arousal = [str({"anger": 90, "neutral": 50, "sadness": 10}[label] + n % 3) for n, label in enumerate(labels)]
    return with_columns(talkers, "valued.csv", {"arousal": arousal, "valence": [str(n % 7 / 7) for n in range(24)]})


def test_sums_give_the_scores_of_scikit_learn_and_of_formulas() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(3, size=40), rng.normal(size=(40, 3)).astype(np.float32)
    classes = ClassGoal(("a", "b", "c"), {}, {}, {}, ClassLoss())
    parts = [
        classes.sums(torch.from_numpy(scores[rows]), torch.from_numpy(truth[rows]))
        for rows in (slice(15), slice(15, 40))
    ]
    found = classes.metrics(parts[0] + parts[1])
    assert float(found["UA"]) == pytest.approx(100 * balanced_accuracy_score(truth, scores.argmax(axis=1)))
    judged = classes.judge(scores, truth)
    probabilities = torch.from_numpy(scores).softmax(dim=1).numpy()
    assert judged["loss"] == pytest.approx(log_loss(truth, probabilities), rel=1e-5)

    wanted, given = rng.normal(50, 20, size=(40, 2)), rng.normal(50, 20, size=(40, 2)).astype(np.float32)
    values = ValueGoal(("x", "y"), {}, {}, Scaling.of(wanted))
    tensors = torch.from_numpy(given), torch.from_numpy(wanted)
    expected = concordance(wanted, given.astype(np.float64))
    mine = values.metrics(values.sums(*tensors))
    assert [float(mine["CCC_x"]), float(mine["CCC_y"])] == pytest.approx(expected, rel=1e-4)
    loss = values.loss(*tensors, torch.ones(40))
    assert float(loss) == pytest.approx(1 - expected.mean(), rel=1e-4)


def test_a_loss_over_the_update_is_the_same_in_parts(valued: Path, model: Path, tmp_path: Path) -> None:
    rows = []
    for accumulate in (1, 3):
        settings = ["data.targets=[arousal,valence]", f"optim.accumulate={accumulate}", "optim.max_updates=3"]
        config = quick_config(valued, model, tmp_path / str(accumulate), *settings, "data.balance=none")
        finetune(config, silent)
        rows.append(
            [line[name] for line in metrics(tmp_path / str(accumulate)) for name in ("loss", "grad_norm", "CCC")]
        )
    assert rows[0] == pytest.approx(rows[1], rel=2e-3)


def test_values_are_learnt_and_predicted_in_their_own_units(valued: Path, model: Path, tmp_path: Path) -> None:
    settings = ["data.targets=[arousal]", "data.clips=12", "optim.max_updates=60", "validation.every=20"]
    finetune(quick_config(valued, model, tmp_path / "run", *settings, "head.pooling=mean"), silent)
    facts = json.loads((tmp_path / "run" / "finetuned.json").read_text())
    assert facts["validation"]["CCC"] > 0.7 and "temperature" not in facts
    predict(str(valued.parent / "s0_anger_0.wav"), model=tmp_path / "run", output=tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["label"] is None and 50 < row["score:arousal"] < 120


def task_of(config: FinetuneConfig) -> ClassGoal:
    corpus = read_labelled(config.data)
    goal = make_task(config, corpus, whole_split(config, corpus)).aims[MAIN].goal
    assert isinstance(goal, ClassGoal)
    return goal


def test_raters_become_shares(talkers: Path, model: Path, tmp_path: Path) -> None:
    first = ["sadness", "anger", "joy", ""] * 6
    table = with_columns(talkers, "rated.csv", {"r1": first, "r2": ["anger"] * 24, "weight": ["2", ""] * 12})
    goal = task_of(quick_config(table, model, tmp_path, "data.raters=[r1,r2]", "data.weight=weight"))
    ids = [f"s0_{label}_{take}" for label in ("anger", "neutral") for take in (0, 1)]
    assert goal.targets(ids).tolist() == [[0.5, 0, 0.5], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert [goal.weights[name] for name in ids] == [2, 1, 2, 1]


def test_rows_of_raters_and_columns_of_probabilities(talkers: Path, model: Path, tmp_path: Path) -> None:
    rows = talkers.read_text().splitlines()
    table = talkers.with_name("rows.csv")
    table.write_text("\n".join([*rows, rows[1].replace(",anger,", ",sadness,"), rows[1]]) + "\n")
    goal = task_of(quick_config(table, model, tmp_path, "data.raters=rows"))
    assert goal.targets(["s0_anger_0", "s0_anger_1"]).tolist() == [
        [pytest.approx(2 / 3), 0, pytest.approx(1 / 3)],
        [1, 0, 0],
    ]
    with pytest.raises(ManifestError, match=r"s0_anger_0\.wav is already on line 2"):
        read_labelled(LabelledData(table=str(table)))
    columns = {"anger": ["3", "0"] * 12, "sadness": ["1", "2"] * 12}
    soft = with_columns(talkers, "soft.csv", columns)
    goal = task_of(quick_config(soft, model, tmp_path, "data.soft=[anger,sadness]"))
    assert goal.names == ("anger", "sadness")
    assert goal.targets(["s0_anger_0", "s0_anger_1"]).tolist() == [[0.75, 0.25], [0, 1]]
    none = with_columns(talkers, "none.csv", columns | {"anger": ["0"] * 24, "sadness": ["0", "1"] * 12})
    with pytest.raises(ManifestError, match=r"anger, sadness are no probabilities of s0_anger_0\.wav"):
        read_labelled(LabelledData(table=str(none), soft=["anger", "sadness"]))


def test_values_that_are_not_there(talkers: Path, valued: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected `file` and `dominance`"):
        read_labelled(LabelledData(table=str(talkers), targets=["dominance"]))
    still = with_columns(talkers, "still.csv", {"arousal": ["3"] * 24})
    config = quick_config(still, model, tmp_path, "data.targets=[arousal]")
    corpus = read_labelled(config.data)
    with pytest.raises(ConfigError, match="arousal has a single value in training"):
        make_task(config, corpus, whole_split(config, corpus))


def test_blocks_thaw_one_by_one_from_the_top(talkers: Path, model: Path, tmp_path: Path) -> None:
    assert [Thawing(2, 4, 3).frozen(update) for update in (1, 3, 4, 6, 7, 10, 100)] == [4, 4, 3, 3, 2, 2, 2]
    before = load_model(model).state_dict()
    moved = []
    for updates in (2, 4, 6):
        run = tmp_path / str(updates)
        settings = ["finetune.strategy=gradual:2", f"optim.max_updates={updates}", "optim.warmup_updates=0"]
        settings += ["validation.every=100", "checkpoint.every=100"]
        finetune(quick_config(talkers, model, run, *settings), silent)
        after = load_model(run).state_dict()
        moved.append({name.split(".")[2] for name in before if not torch.equal(before[name], after[name])})
    assert moved == [set(), {"1"}, {"0", "1"}]
    assert [line["learning_parts"] for line in metrics(tmp_path / "6")] == [0, 0, 1, 1, 2, 2]


def test_heads_learn_alone_first(talkers: Path, model: Path, tmp_path: Path) -> None:
    assert [Thawing(2, 4, 0, 3).frozen(update) for update in (1, 3, 4, 100)] == [4, 4, 2, 2]
    assert [Thawing(2, 4, 2, 3).frozen(update) for update in (1, 3, 5, 6, 7, 8, 100)] == [4, 4, 4, 3, 3, 2, 2]
    before = load_model(model).state_dict()
    for strategy in ("full", "lora"):
        run = tmp_path / strategy
        settings = [f"finetune.strategy={strategy}", "finetune.head_first=3", "checkpoint.every=1"]
        settings += ["checkpoint.keep_last=9", "validation.every=100"]
        finetune(quick_config(talkers, model, run, *settings), silent)
        same = []
        for update in range(1, 7):
            after = load_model(run / "checkpoints" / f"update_{update:08d}").state_dict()
            same.append(all(torch.equal(before[name], after[name]) for name in before))
        assert same == [True] * 3 + [False] * 3
        assert [line["learning_parts"] for line in metrics(run)] == [0] * 3 + [2] * 3
    with pytest.raises(ConfigError, match="head_first is 6 of 6 updates, which leaves none for the encoder"):
        finetune(quick_config(talkers, model, tmp_path / "none", "finetune.head_first=6"), silent)


def test_calibration_can_be_left_out(talkers: Path, model: Path, tmp_path: Path) -> None:
    config = quick_config(talkers, model, tmp_path, "optim.max_updates=1")
    finetune(replace(config, finetune=replace(config.finetune, calibrate=False)), silent)
    assert "temperature" not in json.loads((tmp_path / "finetuned.json").read_text())
