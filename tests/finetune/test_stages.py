"""Training in stages: what each hears and starts from, folds that leak nothing, runs that go on, and bad settings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from finetune.talkers import QUICK, quick_config
from finetune.test_run import metrics
from foreign import write_encoder
from probe.conversations import is_what_is_heard, write_iemocap
from safetensors.torch import load_file

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.heard import read_heard, utterance_key
from emotion2vec.clusters.labels import StoredLabels
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.finetune import folds
from emotion2vec.finetune.config import FinetuneConfig, load_config, without_effect
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.stages import run as stages
from emotion2vec.finetune.stages.retraining import retrain_config
from emotion2vec.finetune.stages.run import seed_config
from emotion2vec.probe.results import ProbeResult
from emotion2vec.report.run import write_run_report
from emotion2vec.settings import to_yaml
from emotion2vec.training.trainer import Trainer

STAGES = ["gmp.enabled=true", "clusters.counts=[5]", "clusters.batch=200", "retrain.epochs=1"]
STAGES += ["head.kind=attentive-cosine", "head.hidden=8", "loss.margin=0.2", "optim.max_updates=2"]
FOLDS = ["evaluate.folds=speaker:2", "evaluate.final=false", "gmp.gender=0"]  # two train: of one gender, maybe


def silent(text: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def staged(talkers: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished run in stages, whose own model learns in its head alone."""
    folder = tmp_path_factory.mktemp("staged") / "run"
    finetune(quick_config(talkers, model, folder, *STAGES, "finetune.strategy=frozen"), silent)
    return folder


def encoder_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in load_model(folder).state_dict().items() if "head" not in name}


def test_every_stage_starts_where_it_should(staged: Path, model: Path) -> None:
    seed, retrained, last = load_model(staged / "seed"), load_model(staged / "retrained"), load_model(staged)
    assert seed.head is not None and last.head is not None and retrained.head is None
    assert {*seed.heads()} == {"", "gender"} and seed.head.config.kind == "mean"
    assert {*last.heads()} == {""} and last.head.config.kind == "attentive-cosine"
    before, after = encoder_of(model), encoder_of(staged / "retrained")
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved and all(name.startswith("backbone.blocks") for name in moved)
    assert all(torch.equal(value, after[name]) for name, value in encoder_of(staged).items())
    held = json.loads((staged / "data.json").read_text())["held_out_speakers"]
    stored = StoredLabels(staged / "clusters")
    assert {name.split("_")[0] for name in stored.places} == {"s0", "s1", "s2", "s3"} - {*held}
    report = json.loads((staged / "clusters" / "report.json").read_text())
    assert [(one["layer"], one["count"]) for one in report] == [(1, 5), (2, 5)]
    assert report[0]["information"].keys() == {"emotion", "gender", "speaker"}
    assert "retrained to tell clusters of frames" in (staged / "README.md").read_text()
    heard = read_heard(staged)
    assert heard is not None and len(heard.audio) == 18 and len(heard.labels) == 24


def test_clusters_are_those_of_the_seed_models_frames(staged: Path, talkers: Path) -> None:
    """By scikit-learn's distances, of clips that are encoded one by one."""
    from scipy.spatial.distance import cdist

    found, seed = load_file(staged / "clusters" / "clusters.safetensors"), load_model(staged / "seed")
    stored = StoredLabels(staged / "clusters")
    name = next(iter(stored.places))
    layers = seed.extract_features(talkers.parent / f"{name}.wav", layers=True).layers
    assert layers is not None
    labels = stored.frames(name, 0, layers.shape[1])
    assert labels is not None
    for column, layer in enumerate((1, 2)):
        rows = (layers[layer - 1] - found[f"shift.layer{layer}"].numpy()) / found[f"scale.layer{layer}"].numpy()
        assert np.array_equal(cdist(rows, found[f"centers.layer{layer}_k5"].numpy()).argmin(axis=1), labels[:, column])


def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Talkers whose audio was decoded before each fold's test, filled as folds are trained."""
    load, test = Utterance.load, folds.test_fold
    now: set[str] = set()
    by_fold: dict[str, set[str]] = {}

    def logged(self: Utterance, *rest: Any) -> np.ndarray:
        now.add(self.id.split("_")[0])
        return load(self, *rest)

    def tested(job: Any, *rest: Any) -> None:
        by_fold[job.fold.name] = set(now)
        test(job, *rest)
        now.clear()

    monkeypatch.setattr(Utterance, "load", logged)
    monkeypatch.setattr(folds, "test_fold", tested)
    return by_fold


Folded = tuple[Path, dict[str, set[str]]]
"""The folder of a run, and the talkers whose audio was decoded before each fold's test."""


def run_folds(folder: Path, talkers: Path, model: Path, transductive: bool) -> Folded:
    """Run two folds."""
    more = [*STAGES, *FOLDS, f"gmp.transductive={str(transductive).lower()}"]
    with pytest.MonkeyPatch.context() as patch:
        by_fold = opened(patch)
        finetune(quick_config(talkers, model, folder, *more), silent)
    return folder, by_fold


@pytest.fixture(scope="module")
def transductive_run(talkers: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Folded:
    return run_folds(tmp_path_factory.mktemp("transductive") / "run", talkers, model, True)


@pytest.mark.parametrize("transductive", [False, True])
def test_tests_are_not_heard_before_they_are_asked_for(
    transductive: bool, talkers: Path, model: Path, tmp_path: Path, transductive_run: Folded
) -> None:
    folder, by_fold = transductive_run if transductive else run_folds(tmp_path / "run", talkers, model, False)
    document = json.loads((folder / "scores.json").read_text())
    assert len(document["folds"]) == 2
    for fold in document["folds"]:
        tested = {*fold["test_speakers"]}
        assert by_fold[fold["name"]] >= {"s0", "s1", "s2", "s3"} - tested
        assert by_fold[fold["name"]] & tested == (tested if transductive else set())
    (scores,) = ProbeResult.from_dict(document).results
    assert scores.is_transductive == transductive and scores.head == "finetune full, in stages"
    assert scores.head_settings["gmp"]["transductive"] == transductive
    assert any("transductive" in warning for warning in document["warnings"]) == transductive
    page = write_run_report(folder).read_text()
    assert ("scores are transductive" in page) == transductive


def test_labels_of_tests_teach_nothing_even_where_they_are_heard(
    talkers: Path, model: Path, tmp_path: Path, transductive_run: Folded
) -> None:
    plain, _ = transductive_run
    turn = {"anger": "sadness", "sadness": "neutral", "neutral": "anger"}
    rows = [line.split(",") for line in talkers.read_text().splitlines()]
    more = [*STAGES, *FOLDS, "gmp.transductive=true"]
    fold = json.loads((plain / "scores.json").read_text())["folds"][0]
    who = {*fold["test_speakers"]}
    other = talkers.with_name("turned.csv")
    turned = [[row[0], turn[row[1]], *row[2:]] if row[2] in who else row for row in rows]
    other.write_text("\n".join(",".join(row) for row in turned) + "\n")
    finetune(quick_config(other, model, tmp_path / "turned", *more), silent)
    ours, theirs = (
        load_file(next((run / "folds").glob("01_*")) / "model.safetensors") for run in (plain, tmp_path / "turned")
    )
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


class KilledError(BaseException):
    """Ends a process, as far as what it leaves goes."""


def test_killed_while_it_is_retrained_it_goes_on_bit_for_bit(
    talkers: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [*STAGES, "retrain.epochs=2", "retrain.share=0.4", "retrain.seen=0.5", "augment.gain_prob=0.5"]
    more += ["checkpoint.background=false"]
    finetune(quick_config(talkers, model, tmp_path / "whole", *more), silent)
    step = Trainer._step

    def dying(self: Trainer, update: int, *rest: Any) -> dict[str, float]:
        if update == 5:  # no other stage has so many updates
            raise KilledError
        return step(self, update, *rest)

    with monkeypatch.context() as killing, pytest.raises(KilledError):
        killing.setattr(Trainer, "_step", dying)
        finetune(quick_config(talkers, model, tmp_path / "parts", *more), silent)
    assert (tmp_path / "parts" / "seed" / "model.json").is_file()
    assert (tmp_path / "parts" / "retrained" / "checkpoints" / "update_00000004").is_dir()
    seed = (tmp_path / "parts" / "seed" / "model.safetensors").stat().st_mtime_ns
    said: list[str] = []
    finetune(quick_config(talkers, model, tmp_path / "parts", *more), said.append)
    assert "resumed after update 4 from" in capsys.readouterr().err
    assert not any("stage A" in line for line in said)
    assert (tmp_path / "parts" / "seed" / "model.safetensors").stat().st_mtime_ns == seed
    last = "retrained/checkpoints/update_00000006"
    for name in ("model.safetensors", f"{last}/training.safetensors", f"{last}/model.safetensors"):
        ours, theirs = load_file(tmp_path / "parts" / name), load_file(tmp_path / "whole" / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert metrics(tmp_path / "parts" / "retrained") == metrics(tmp_path / "whole" / "retrained")
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    hidden = metrics(tmp_path / "parts" / "retrained")[-1]
    assert hidden["loss"] == pytest.approx(hidden["hidden_loss"] + 0.5 * hidden["seen_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "told"),
    [("retrain.lr=0.1", "retrain.lr is 0.0005 there and 0.1 now"), ("optim.lr=0.5", "optim.lr is 0.01 there and 0.5")],
)
def test_stages_of_other_settings_are_refused(
    setting: str, told: str, staged: Path, talkers: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(staged, tmp_path / "run")
    with pytest.raises(ConfigError, match=told):
        finetune(quick_config(talkers, model, tmp_path / "run", *STAGES, "finetune.strategy=frozen", setting), silent)


def killed_before_d(monkeypatch: pytest.MonkeyPatch, config: FinetuneConfig) -> None:
    """Run stages A to C alone."""
    fit = stages.fit

    def dying(*args: Any, start: str | None = None, **more: Any) -> Any:
        if start is not None:
            raise KilledError
        return fit(*args, start=start, **more)

    with monkeypatch.context() as killing, pytest.raises(KilledError):
        killing.setattr(stages, "fit", dying)
        finetune(config, silent)


def test_stages_of_other_clips_are_refused(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corrected column of folds, or one label, between a run that is killed before D and the next one."""
    rows = [line.split(",") for line in talkers.read_text().splitlines()]
    table = talkers.with_name("corrected.csv")

    def write(tested: set[str], label: str) -> None:
        lines = [[*rows[0], "fold"], *([*row, "1" if row[2] in tested else "2"] for row in rows[1:])]
        lines[1][1] = lines[7][1] = lines[13][1] = lines[19][1] = label  # of every talker one
        table.write_text("\n".join(",".join(line) for line in lines) + "\n")

    more = [*STAGES, "evaluate.folds=official", "evaluate.final=false", "gmp.gender=0"]
    config = quick_config(table, model, tmp_path / "run", *more)
    write({"s0", "s1"}, "anger")
    killed_before_d(monkeypatch, config)
    said: list[str] = []
    for tested, label in (({"s2", "s3"}, "anger"), ({"s0", "s1"}, "sadness")):
        write(tested, label)
        with pytest.raises(ConfigError, match=r"seed: learnt from other clips, labels or folds .*\(train.*\)"):
            finetune(config, said.append)
    assert not any("stage" in line for line in said)
    shutil.rmtree(next((tmp_path / "run" / "folds").glob("01_*")) / "seed")
    with pytest.raises(ConfigError, match="retrained: learnt from other clips"):
        finetune(config, silent)


def test_a_run_that_is_extended_has_the_stages_of_its_settings(
    staged: Path, talkers: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(staged, tmp_path / "run")
    more = [*STAGES, "finetune.strategy=frozen", "run.extend=true", "optim.max_updates=3"]
    for setting, told in (("clusters.counts=[7]", r"clusters.counts is \[5\]"), ("gmp.gender=0", "joint.classes is")):
        with pytest.raises(ConfigError, match=told):
            finetune(quick_config(talkers, model, tmp_path / "run", *more, setting), silent)
    said: list[str] = []
    finetune(quick_config(talkers, model, tmp_path / "run", *more), said.append)
    assert any("going on from update 2" in line for line in said) and not any("stage A" in line for line in said)


@pytest.mark.parametrize(
    "more",
    [
        ["text.encoder=x", "head.kind=text-late", "loss.margin=0"],
        ["joint.reversed=[gender=0.1,speaker=0.1]"],
        ["phonemes.weight=0.1", "finetune.strategy=lora"],
    ],
)
def test_the_runs_of_stages_have_settings_that_can_be_read_again(
    more: list[str], talkers: Path, model: Path, tmp_path: Path
) -> None:
    config = quick_config(talkers, model, tmp_path, *STAGES, "optim.epochs=2", *more)
    for number, own in enumerate((seed_config(config), retrain_config(config, 10))):
        file = tmp_path / f"{number}.yaml"
        file.write_text(to_yaml(own))
        assert load_config(file) == own and own.text.encoder == ""
    first = seed_config(config).joint
    assert first.classes == ["gender=0.5"] and "gender=0.1" not in first.reversed
    assert seed_config(replace(config, gmp=replace(config.gmp, gender=0.0))).joint == config.joint


def test_a_folder_that_was_moved_goes_on(staged: Path, talkers: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "retrained")
    said: list[str] = []
    finetune(quick_config(talkers, model, tmp_path / "run", *STAGES, "finetune.strategy=frozen"), said.append)
    assert not any("stage A" in line or "fitted" in line for line in said)
    ours, theirs = (encoder_of(folder / "retrained") for folder in (tmp_path / "run", staged))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_parts_can_be_left_out(talkers: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(talkers, model, tmp_path / "d", *STAGES, "gmp.retrain=false"), silent)
    plain = [word for word in STAGES if not word.startswith(("gmp.", "clusters.", "retrain."))]
    finetune(quick_config(talkers, model, tmp_path / "plain", *plain), silent)
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("d", "plain"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not (tmp_path / "d" / "seed").exists()
    finetune(quick_config(talkers, model, tmp_path / "alone", *STAGES, "gmp.gender=0"), silent)
    assert {*load_model(tmp_path / "alone" / "seed").heads()} == {""}


def test_a_hubert_is_trained_in_stages(talkers: Path, tmp_path: Path) -> None:
    write_encoder(tmp_path / "hubert", "hubert base")
    more = [*STAGES, "data.min_samples=4000", "data.max_seconds=0.6", "finetune.freeze=cnn", "retrain.share=0.5"]
    finetune(quick_config(talkers, tmp_path / "hubert", tmp_path / "run", *more, "clusters.layers=[1,3]"), silent)
    before, after = (
        load_model(tmp_path / "hubert").state_dict(),
        load_model(tmp_path / "run" / "retrained").state_dict(),
    )
    moved = {name.split(".")[1] for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"encoder", "feature_projection"}
    assert set(load_model(tmp_path / "run").predict(talkers.parent / "s0_anger_0.wav")) == {
        "anger",
        "neutral",
        "sadness",
    }


def test_the_preset_runs_on_a_folder_of_iemocap_session_by_session(model: Path, tmp_path: Path, root: Path) -> None:
    corpus = write_iemocap(tmp_path / "IEMOCAP", is_what_is_heard, sessions=5, dialogues=1, turns=10)
    small = [word for word in QUICK if not word.startswith("optim.")]
    more = [*small, "optim.epochs=0.05", "retrain.epochs=0.1", "clusters.layers=[1,2]"]
    more += ["clusters.counts=[3]", "clusters.batch=100", f"model={model}", f"run.dir={tmp_path / 'run'}"]
    more += ["evaluate.folds=session", "evaluate.final=false", f"data.corpora=[iemocap={corpus}]", "validation.every=1"]
    more += ["checkpoint.every=1", "head.hidden=8"]
    config = load_config(root / "configs" / "finetune" / "gmp.yaml", more)
    assert without_effect(config) == []
    said: list[str] = []
    done = finetune(config, said.append)
    assert done.scores is not None and not any("no effect" in line for line in said)
    tested = [fold["test_speakers"] for fold in done.scores.to_dict()["folds"]]
    assert tested == [[f"Ses{n:02d}F", f"Ses{n:02d}M"] for n in range(1, 6)]
    for folder in sorted((tmp_path / "run" / "folds").iterdir()):
        number = folder.name.split("_")[0]
        heard = {Path(name).name[:5] for name in StoredLabels(folder / "clusters").places}
        assert f"Ses{number}" not in heard and len(heard) >= 3
        assert {*load_model(folder / "seed").heads()} == {"", "gender"}


def faults(table: Path, model: Path, folder: Path, *more: str) -> str:
    with pytest.raises(ConfigError) as raised:
        finetune(quick_config(table, model, folder, *STAGES, *more), silent)
    assert not (folder / "seed").exists() and not (folder / "folds").exists()
    return str(raised.value)


def test_what_cannot_be_trained_is_refused_before_anything_is(talkers: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert "clusters.layers has 3, expected 1 to 2, the blocks of model" in faults(
        talkers, model, folder, "clusters.layers=[2,3]"
    )
    few = faults(talkers, model, folder, "clusters.counts=[900]", "clusters.batch=1000")
    assert "clusters.counts has 900 and there are" in few and "frames to cluster" in few
    rows = [line.split(",") for line in talkers.read_text().splitlines()]
    table = talkers.with_name("without.csv")
    for genders, told in ((["", ""], "no clip that has a gender"), (["female"] * 2, "clips of female alone")):
        lines = [",".join([*row[:3], "gender" if row[3] == "gender" else genders[0]]) for row in rows]
        table.write_text("\n".join(lines) + "\n")
        assert f"gmp.gender is 0.5 and there are {told}" in faults(table, model, folder)
    lines = [",".join([*row[:3], row[3] if row[2] in ("s0", "speaker") else ""]) for row in rows]
    lines = [line + ("female" if "s1" in line else "") for line in lines]
    table.write_text("\n".join(lines) + "\n")
    assert "fewer than 2 classes or values of gender to train on" in faults(
        table, model, folder, "evaluate.folds=speaker", "evaluate.final=false"
    )
    told = faults(
        talkers, model, folder, "validation.refit=true", "evaluate.shots=[1]", "clusters.counts=[]", "finetune.head=own"
    )
    assert "gmp.enabled and validation.refit are on" in told and "evaluate.shots [1]" in told
    assert "clusters.counts is empty" in told and "finetune.head own, expected new or auto" in told
    assert "gmp.enabled trains several models" in faults(talkers, model, folder, "run.devices=2")
    assert "loss.margin is 0.2 and head.kind mean, expected cosine or attentive-cosine" in faults(
        talkers, model, folder, "head.kind=mean"
    )


def test_settings_that_do_nothing_are_told(talkers: Path, model: Path, tmp_path: Path) -> None:
    def idle(*more: str) -> str:
        return "; ".join(without_effect(quick_config(talkers, model, tmp_path, *more)))

    assert "clusters.counts is [5], which has no effect: gmp.enabled is false" in idle("clusters.counts=[5]")
    assert "retrain.lr is 0.1, which has no effect: gmp.retrain is false" in idle(
        *STAGES, "gmp.retrain=false", "retrain.lr=0.1"
    )
    assert "retrain.span is 3, which has no effect: retrain.share is 0" in idle(*STAGES, "retrain.span=3")
    assert "gmp.gender is 0.7, which has no effect: finetune.strategy is frozen" in idle(
        *STAGES, "gmp.gender=0.7", "finetune.strategy=frozen"
    )
    assert idle(*STAGES) == ""


def test_cosines_are_calibrated(staged: Path, talkers: Path) -> None:
    facts = json.loads((staged / "finetuned.json").read_text())
    checkpoint = load_model(staged / "checkpoints" / f"update_{facts['update']:08d}")
    clip = talkers.parent / "s3_anger_0.wav"
    logits = np.log([*checkpoint.predict(clip).values()]) / facts["temperature"]
    expected = np.exp(logits) / np.exp(logits).sum()
    assert facts["temperature"] != 1 and [*load_model(staged).predict(clip).values()] == pytest.approx(
        expected, abs=1e-5
    )


def test_the_record_of_transductive_clips_goes_on_to_the_last_model(transductive_run: Folded, talkers: Path) -> None:
    run, _ = transductive_run
    scored = json.loads((run / "scores.json").read_text())["folds"]
    folders = sorted((run / "folds").iterdir())
    for fold, folder in zip(scored, folders, strict=True):
        heard = read_heard(folder)
        paths = [path for path in talkers.parent.glob("*.wav") if path.name.split("_")[0] in fold["test_speakers"]]
        keys = {utterance_key(path.name, soundfile.info(path).duration) for path in paths}
        assert heard is not None and len(keys) == 12 and keys <= {*heard.audio.tolist()}
