"""Several targets at once: losses and gradients by hand, clips that lack a target, and what becomes of the heads."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import quick, quick_config, write_model
from finetune.test_goals import silent, with_columns
from finetune.test_run import check_killed_and_resumed, metrics, run
from foreign import write_encoder
from safetensors.torch import load_file
from sklearn.metrics import recall_score
from tables import rows_of, scores_of, stem_of
from torch.nn import functional

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.corpora.folds import make_folds
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.extraction.predict import predict
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.asked import asked
from emotion2vec.finetune.average import average
from emotion2vec.finetune.config import FinetuneConfig, load_config
from emotion2vec.finetune.heads import add_heads, opposed_heads
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.labelled import read_labelled
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.objective import Finetuning
from emotion2vec.finetune.reversal import ramp
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.splits import whole_split
from emotion2vec.finetune.strategy import Thawing
from emotion2vec.finetune.task import make_task
from emotion2vec.finetune.unlabelled import beside, main_clips
from emotion2vec.tasks.metrics import concordance

JOINT = ["joint.classes=[pitch=0.3]", "joint.values=[hertz+level=0.5]", "joint.reversed=[speaker=0.2]"]
HERTZ = {"anger": 900.0, "neutral": 500.0, "sadness": 100.0}


@pytest.fixture(scope="module")
def table(talkers: Path) -> Path:
    """The talkers, a third of whom has no `pitch` (which a clip's class tells) and another third no values."""
    labels = [line.split(",")[1] for line in talkers.read_text().splitlines()[1:]]
    high = {"anger": "high", "neutral": "low", "sadness": "low"}
    columns = {
        "pitch": [high[label] if number % 3 else "" for number, label in enumerate(labels)],
        "hertz": [str(HERTZ[label]) if number % 3 != 1 else "" for number, label in enumerate(labels)],
        "level": [str(number % 5) for number in range(len(labels))],
    }
    return with_columns(talkers, "joint.csv", columns)


@pytest.fixture(scope="module")
def trained(table: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt all of them."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    settings = [*JOINT[:1], "joint.values=[hertz=0.5]", JOINT[2], "data.clips=12", "optim.max_updates=80"]
    finetune(quick_config(table, model, folder, *settings, "validation.every=20", "head.pooling=mean"), silent)
    return folder


def built(config: FinetuneConfig) -> Finetuning:
    """The objective of a run, before its first update."""
    corpus = read_labelled(config.data, config.joint)
    task = make_task(config, corpus, whole_split(config, corpus))
    encoder, device = load_model(config.model), torch.device("cpu")
    add_heads(encoder, task, config, device, silent, KeptRows())
    network = TunedNetwork(encoder, 0, opposed=opposed_heads(encoder, task, config, device))
    return Finetuning(config, network, task.aims, Thawing.of(encoder, config.finetune), KeptRows())


def one_minus_ccc(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Lin's formula."""
    spread = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2
    return 1 - 2 * ((x - x.mean()) * (y - y.mean())).mean() / spread


def test_gradients_are_those_of_the_weighted_sum_and_reversed_ones(table: Path, model: Path, tmp_path: Path) -> None:
    objective = built(quick_config(table, model, tmp_path, *JOINT, "joint.ramp=false", "finetune.freeze=none"))
    network, aims = objective.tuned, objective.aims
    ids = [name for name in aims[MAIN].goal.weights][:8]
    known = {name: [row for row, clip in enumerate(ids) if clip in aim.goal.weights] for name, aim in aims.items()}
    assert 0 < len(known["pitch"]) < 8 and 1 < len(known["hertz+level"]) < 8
    waveforms = torch.randn(8, 6_400, generator=torch.Generator().manual_seed(0))
    counts = {"weight": 8.0, "pitch_weight": float(len(known["pitch"])), "hertz+level_weight": 1.0}
    counts["speaker_weight"] = float(len(known["speaker"]))
    output = network(waveforms, None, asked(aims, ids), objective._reversals(1), 0)
    parameters = [p for p in network.parameters() if p.requires_grad]
    found = torch.autograd.grad(objective.loss(output, counts), parameters)

    scores = network.scores(waveforms, None)
    parts = {}
    for name in ("", "pitch", "speaker"):
        truth = torch.tensor([int(aims[name].goal.truth(ids[row])) for row in known[name]])
        parts[name] = functional.cross_entropy(scores[name][known[name]], truth)
    values = torch.tensor(np.array([aims["hertz+level"].goal.truth(ids[row]) for row in known["hertz+level"]]))
    own = scores["hertz+level"][known["hertz+level"]].double()
    parts["values"] = torch.stack([one_minus_ccc(own[:, k], values[:, k]) for k in range(2)]).mean()
    single = {
        name: torch.autograd.grad(part, parameters, retain_graph=True, allow_unused=True)
        for name, part in parts.items()
    }
    opposed = {id(p) for p in network.opposed.parameters()}
    factors = {"": 1.0, "pitch": 0.3, "values": 0.5}
    for number, parameter in enumerate(parameters):
        own_factors = factors | {"speaker": 1.0 if id(parameter) in opposed else -0.2}
        terms = [factor * g for name, factor in own_factors.items() if (g := single[name][number]) is not None]
        assert torch.allclose(found[number], torch.stack(terms).sum(dim=0), rtol=1e-3, atol=1e-5)


def test_the_factor_of_reversal_grows_as_in_the_paper(table: Path, model: Path, tmp_path: Path) -> None:
    assert [ramp(p) for p in (0.0, 0.1, 1.0)] == pytest.approx([0.0, math.tanh(0.5), math.tanh(5.0)])
    finetune(quick_config(table, model, tmp_path, *JOINT), silent)
    found = [line["speaker_reversal"] for line in metrics(tmp_path)]
    assert found == pytest.approx([0.2 * math.tanh(5 * update / 6) for update in range(1, 7)], rel=1e-4)


def test_an_update_in_parts_learns_the_same_of_clips_that_lack_targets(
    table: Path, model: Path, tmp_path: Path
) -> None:
    rows = []
    for accumulate in (1, 3):
        settings = [*JOINT, f"optim.accumulate={accumulate}", "optim.max_updates=2", "data.balance=none"]
        finetune(quick_config(table, model, tmp_path / str(accumulate), *settings), silent)
        names = ("loss", "main_loss", "pitch_loss", "speaker_loss", "hertz+level_loss", "grad_norm", "pitch_UA")
        rows.append([line[name] for line in metrics(tmp_path / str(accumulate)) for name in names])
    assert rows[0] == pytest.approx(rows[1], rel=2e-3)


def test_two_processes_share_an_update_and_weights(table: Path, model: Path, tmp_path: Path) -> None:
    more = [*JOINT, "optim.max_updates=2", "augment.gain_prob=0", "loss.smoothing=0", "finetune.strategy=top:1"]
    finetune(quick_config(table, model, tmp_path / "one", *more, "optim.accumulate=2"), silent)
    log = tmp_path / "log"
    assert run(quick(table, model, tmp_path / "two", *more, "run.strategy=fsdp"), log, ranks=2) == 0, log.read_text()
    one, two = metrics(tmp_path / "one")[-1], metrics(tmp_path / "two")[-1]
    for name in ("loss", "grad_norm", "hertz+level_loss", "pitch_UA", "validation_score", "validation_pitch_loss"):
        assert one[name] == pytest.approx(two[name], rel=1e-4), name


def test_a_target_that_an_update_lacks_changes_nothing(table: Path, model: Path, tmp_path: Path) -> None:
    objective = built(quick_config(table, model, tmp_path, *JOINT))
    ids = [name for name in objective.aims[MAIN].goal.weights if name not in objective.aims["pitch"].goal.weights][:3]
    without = [name for name in ids if name not in objective.aims["hertz+level"].goal.weights] or ids
    output = objective.tuned(torch.randn(len(without), 6_400), None, asked(objective.aims, without), {}, 0)
    counts = dict.fromkeys(objective.counted, 0.0) | {"weight": float(len(without)), "speaker_weight": 1.0}
    alone = functional.cross_entropy(output.answers[""].scores, output.answers[""].targets)
    loss = objective.loss(output, counts)
    loss.backward()
    names = ["pitch"] if len(output.answers["hertz+level"].scores) else ["pitch", "hertz+level"]
    for name in names:
        assert all(p.grad is not None and not p.grad.any() for p in objective.tuned.heads[name].parameters())
    found = objective.metrics(objective.sums([output]), counts)
    assert float(torch.as_tensor(found["main_loss"]).detach()) == pytest.approx(float(alone.detach()), rel=1e-5)
    assert torch.isfinite(loss)
    assert not any(name.startswith("pitch") for name in found)


def test_every_head_is_right_and_judged(trained: Path, table: Path, tmp_path: Path) -> None:
    facts = json.loads((trained / "finetuned.json").read_text())
    assert facts["validation"]["UA"] > 80 and facts["validation"]["pitch_UA"] == 100
    assert facts["validation"]["hertz_CCC"] > 0.4 and not any("speaker" in name for name in facts["validation"])
    assert facts["further"].keys() == {"pitch"} and facts["further"]["pitch"]["temperature"] > 0
    last = metrics(trained)[-1]
    assert {"pitch_UA", "hertz_CCC", "speaker_UA", "validation_pitch_UA", "validation_hertz_CCC"} <= last.keys()
    predict(str(table.parent), model=trained, output=tmp_path / "out.jsonl")
    rows = rows_of(tmp_path / "out.jsonl")
    truth = ["high" if "anger" in row["file"] else "low" for row in rows]
    said = [row["pitch:label"] for row in rows]
    assert len(rows) == 24 and recall_score(truth, said, average="macro") > 0.9
    hertz = np.array([[HERTZ[stem_of(row).split("_")[1]]] for row in rows])
    found = np.array([[row["hertz:hertz"]] for row in rows])
    assert concordance(hertz, found)[0] > 0.6 and "hertz:label" not in rows[0]


def test_heads_stay_with_the_model_and_opposed_ones_do_not(trained: Path, tmp_path: Path) -> None:
    tuned = load_model(trained)
    assert [*tuned.heads()] == ["", "pitch", "hertz"] and tuned.head is tuned.heads()[""]
    kept = load_file(sorted(trained.glob("checkpoints/*/training.safetensors"))[-1])
    assert any(name.startswith("pretrainer.opposed.0.") for name in kept)
    facts = describe_model(trained)
    assert facts.further == {"pitch": "high, low", "hertz": "hertz"} and facts.parameters["further heads"] > 0
    average([trained, trained], tmp_path / "mean")
    mean = load_model(tmp_path / "mean")
    for name, value in tuned.state_dict().items():
        assert torch.allclose(mean.state_dict()[name], value), name
    assert [*mean.heads()] == ["", "pitch", "hertz"]
    done = convert(trained, tmp_path / "native")
    assert [*load_model(done.output).heads()] == ["", "pitch", "hertz"]
    done = convert(trained, tmp_path / "theirs", to="huggingface")
    assert "left out, as the format holds the main head alone: the heads of pitch, hertz" in done.notes
    assert [*load_model(done.output).heads()] == [""]


def test_predictions_are_calibrated_scores_of_the_heads(trained: Path, table: Path, tmp_path: Path) -> None:
    clip = table.parent / "s0_anger_0.wav"
    tuned = load_model(trained)
    with torch.inference_mode():
        encoded = tuned(torch.from_numpy(load_audio(clip))[None])
        scores = tuned.all_scores(encoded)
    predict(str(clip), model=[trained, trained], output=tmp_path / "out.csv")
    (row,) = csv.DictReader((tmp_path / "out.csv").open())
    assert row["label"] == "anger" and row["pitch:label"] == "high" and "hertz:label" not in row
    assert float(row["hertz:hertz"]) == pytest.approx(float(scores["hertz"]), rel=1e-4)
    shares = scores["pitch"].softmax(dim=1)[0].tolist()
    assert [float(row["pitch:high"]), float(row["pitch:low"])] == pytest.approx(shares, abs=1e-4)
    predict(str(clip), model=trained, output=tmp_path / "windows.jsonl", window=0.1)
    windows = rows_of(tmp_path / "windows.jsonl")
    assert len(windows) > 1 and all(scores_of(window, "pitch") for window in windows)


def test_models_that_differ_in_their_heads(trained: Path, table: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(table, model, tmp_path / "other", "optim.max_updates=1", "head.pooling=mean"), silent)
    with pytest.raises(CheckpointError, match=r"other: labels of pitch is not there, expected high, low as of"):
        average([trained, tmp_path / "other"], tmp_path / "mean")
    predict(str(table.parent / "s0_anger_0.wav"), model=[trained, tmp_path / "other"], output=tmp_path / "o.jsonl")
    assert not any(name.startswith("pitch") for name in rows_of(tmp_path / "o.jsonl")[0])
    config = json.loads((trained / "model.json").read_text())
    for further, message in (
        ([{"target": "a", "labels": ["x", "y"]}] * 2, "targets of further heads are a, a"),
        ([{"labels": ["x", "y"]}], "expected a list of heads, each with a target"),
    ):
        folder = tmp_path / message[:4]
        folder.mkdir()
        (folder / "model.json").write_text(json.dumps(config | {"further": further}))
        with pytest.raises(CheckpointError, match=message):
            load_model(folder)


def test_killed_and_resumed_is_bit_for_bit_uninterrupted(table: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", dropout=0.1)
    more = [*JOINT, "optim.accumulate=2", "optim.max_updates=5"]
    check_killed_and_resumed(table, model, tmp_path, more, killed_in=4, last=5)


def test_an_encoder_of_transformers_has_several_heads(table: Path, tmp_path: Path) -> None:
    write_encoder(tmp_path / "start", "hubert base")
    settings = ["data.min_samples=4000", "data.max_seconds=0.6", "optim.max_updates=2", *JOINT]
    finetune(quick_config(table, tmp_path / "start", tmp_path / "run", *settings), silent)
    assert [*load_model(tmp_path / "run").heads()] == ["", "pitch", "hertz+level"]
    predict(str(table.parent / "s0_anger_0.wav"), model=tmp_path / "run", output=tmp_path / "out.jsonl")
    assert {"pitch:label", "hertz+level:hertz"} <= rows_of(tmp_path / "out.jsonl")[0].keys()


def test_corpora_that_lack_targets_and_fields_that_they_know(
    table: Path, talkers: Path, model: Path, tmp_path: Path
) -> None:
    corpora = f"data.corpora=[here={table},there={talkers}]"
    settings = [corpora, "joint.classes=[sex=0.3,corpus=0.1]", "joint.values=[hertz=0.5]", "optim.max_updates=2"]
    config = quick_config(table, model, tmp_path, *settings)
    config = replace(config, data=replace(config.data, table=""))
    corpus = read_labelled(config.data, config.joint)
    aims = make_task(config, corpus, whole_split(config, corpus)).aims
    assert aims["sex"].goal.names == ("female", "male") and aims["corpus"].goal.names == ("here", "there")
    assert len(aims["hertz"].goal.weights) == 16 and all(
        name.startswith("here/") for name in aims["hertz"].goal.weights
    )
    finetune(config, silent)
    assert {"validation_hertz_CCC", "validation_sex_UA_there"} <= metrics(tmp_path)[-1].keys()


def test_clips_without_the_main_target_learn_the_others(
    table: Path, talkers: Path, model: Path, tmp_path: Path
) -> None:
    rows = [line.split(",") for line in table.read_text().splitlines()]
    other = table.with_name("values.csv")  # no column of labels, and no values of one clip
    lines = ["file,speaker,hertz", *(f"{row[0]},{row[2]},{number}" for number, row in enumerate(rows[2:]))]
    other.write_text("\n".join([*lines, f"{rows[1][0]},{rows[1][2]},"]) + "\n")
    settings = ["joint.values=[hertz=0.5]", "optim.max_updates=2", "evaluate.folds=speaker:2"]
    config = quick_config(talkers, model, tmp_path, *settings)
    config = replace(config, data=replace(config.data, table="", corpora=[f"a={talkers}", f"b={other}"]))
    corpus = read_labelled(config.data, config.joint)
    aims = make_task(config, corpus, whole_split(config, corpus)).aims
    assert {name[0] for name in aims[MAIN].goal.weights} == {"a"} and len(aims[MAIN].goal.weights) == 24
    assert {name[0] for name in aims["hertz"].goal.weights} == {"b"} and len(aims["hertz"].goal.weights) == 23
    said: list[str] = []
    finetune(config, said.append)
    assert "warning: only other targets are learnt of 23 clips without what the main goal learns" in said
    last = metrics(tmp_path)[-1]
    assert {"validation_UA", "validation_hertz_CCC"} <= last.keys()
    document = json.loads((tmp_path / "scores.json").read_text())
    assert document["corpus"]["clips"] == 24 if "corpus" in document else document["clips"] == 24

    empty = [",".join([*row[:1], "" if number % 4 == 0 else row[1], *row[2:]]) for number, row in enumerate(rows)]
    gaps = table.with_name("gaps.csv")
    gaps.write_text("\n".join([table.read_text().splitlines()[0], *empty[1:]]) + "\n")
    config = quick_config(gaps, model, tmp_path / "gaps", *JOINT, "optim.max_updates=2")
    whole = read_labelled(config.data, config.joint)
    assert [bool(clip.label) for clip in whole.utterances] == [True] * 18 + [False] * 6
    for fold in make_folds(main_clips(whole, ()), "speaker"):
        more = set(beside(whole, (), fold, "speaker").train.tolist()) - set(fold.train.tolist())
        of = {number: whole.utterances[number].speaker for number in range(18, 24)}
        assert more == {number for number, speaker in of.items() if speaker not in fold.test_speakers}
    finetune(config, silent)
    values = quick_config(table, model, tmp_path / "v", "data.targets=[hertz]", "joint.classes=[emotion=0.5]")
    finetune(values, silent)
    assert {"validation_CCC", "validation_emotion_UA"} <= metrics(tmp_path / "v")[-1].keys()


def test_folds_score_every_head(table: Path, model: Path, tmp_path: Path) -> None:
    settings = [*JOINT[:2], "evaluate.folds=speaker:2", "evaluate.final=false", "optim.max_updates=2"]
    finetune(quick_config(table, model, tmp_path, *settings), silent)
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["further"].keys() == {"pitch", "hertz+level"}
    truth, said = [], []
    for test in sorted(tmp_path.glob("folds/*/test.json")):
        document = json.loads(test.read_text())
        scores = np.array(document["further"]["pitch"]["scores"])
        for name, row in zip(document["ids"], scores, strict=True):
            truth.append((name, "high" if "anger" in name else "low"))
            said.append(document["further"]["pitch"]["labels"][int(row.argmax())])
    lines = table.read_text().splitlines()
    place = lines[0].split(",").index("pitch")
    known = {line.split(",")[0].removesuffix(".wav") for line in lines[1:] if line.split(",")[place]}
    pairs = [(label, one) for (name, label), one in zip(truth, said, strict=True) if name in known]
    assert len(pairs) == 16
    expected = 100 * recall_score(*zip(*pairs, strict=True), average="macro")
    assert found["further"]["pitch"]["pooled"]["UA"] == pytest.approx(expected)
    assert found["further"]["hertz+level"]["folds"][0]["clips"] == 8


def test_faults_are_told(table: Path, model: Path, tmp_path: Path) -> None:
    base = quick(table, model, tmp_path)
    for settings, message in (
        (["joint.classes=[gender]"], r"joint.classes has 'gender', expected TARGET=NUMBER above 0"),
        (["joint.values=[a+=1]"], r"joint.values has 'a\+=1', expected TARGET=NUMBER above 0"),
        (["joint.classes=[gender=1]", "joint.reversed=[gender=1]"], "joint has gender more than once"),
        (["joint.classes=[main=1]"], "joint has a target main, which is what metrics call the main goal"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(None, [*base, *settings])
    with pytest.raises(ConfigError, match=r"joint has age, which no clip has; expected a column age of numbers"):
        finetune(quick_config(table, model, tmp_path, "joint.values=[age=1]"), silent)
    with pytest.raises(ConfigError, match=r"joint has accent, which no clip has; expected a column accent, or one of"):
        finetune(quick_config(table, model, tmp_path, "joint.classes=[accent=1]"), silent)
    same = with_columns(table, "same.csv", {"room": ["small"] * 24})
    with pytest.raises(ConfigError, match=r"joint has room, of which training has small, expected at least 2"):
        finetune(quick_config(same, model, tmp_path, "joint.classes=[room=1]"), silent)
