"""Pretraining on clusters: killed it goes on bit for bit, a second iteration clusters the first, and bad settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run
from networks import TINY
from training.helpers import assert_same_run, finish, metrics

from emotion2vec.checkpoint import load_model
from emotion2vec.clusters.config import ClusterConfig, load_config, without_effect
from emotion2vec.clusters.labels import StoredLabels
from emotion2vec.clusters.run import pretrain
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.training.trainer import Trainer

SMALL = [word for word in TINY if word.partition(".")[0] in ("model", "optim", "data", "run")]
SMALL += ["objective=clusters", "clusters.counts=[6]", "clusters.batch=200", "log.every=1"]


def silent(text: str) -> None:
    """Say nothing."""


def config(speech: Path, run: Path, *more: str) -> ClusterConfig:
    found = load_config(None, [*SMALL, f"data.train={speech}", f"run.dir={run}", *more])
    assert isinstance(found, ClusterConfig)
    return found


class KilledError(BaseException):
    """Ends a process, as far as what it leaves goes."""


def test_a_killed_run_goes_on_bit_for_bit(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["checkpoint.every=2", "checkpoint.background=false", "optim.accumulate=2", "data.batch_seconds=3"]
    more += ["augment.gain_prob=0.5", "model.dropout=0.1", "model.layerdrop=0.3", "hidden.seen=0.5"]
    more += ["validation.every=2", f"validation.data={speech}"]
    pretrain(config(speech, tmp_path / "whole", *more), silent)
    step = Trainer._step

    def dying(self: Trainer, update: int, *rest: Any) -> dict[str, float]:
        if update == 4:
            raise KilledError
        return step(self, update, *rest)

    with monkeypatch.context() as killing, pytest.raises(KilledError):
        killing.setattr(Trainer, "_step", dying)
        pretrain(config(speech, tmp_path / "parts", *more), silent)
    said: list[str] = []
    pretrain(config(speech, tmp_path / "parts", *more), said.append)
    assert "resumed after update 2" in capsys.readouterr().err and not any("fitted" in line for line in said)
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 4)
    last = metrics(tmp_path / "whole")[3]
    assert {"hidden_accuracy", "seen_loss", "validation_hidden_loss", "validation_seen_accuracy"} <= last.keys()
    assert last["loss"] == pytest.approx(last["hidden_loss"] + 0.5 * last["seen_loss"], rel=1e-4)
    (tmp_path / "other").mkdir()
    changed = config(speech, tmp_path / "whole", *more, f"clusters.folder={tmp_path / 'elsewhere'}")
    with pytest.raises(ConfigError, match=r"clusters\.folder is '' there"):
        pretrain(changed, silent)
    centers = tmp_path / "whole" / "clusters" / "clusters.safetensors"
    from safetensors.numpy import load_file, save_file

    tensors = load_file(centers)
    save_file({name: value + 1 for name, value in tensors.items()}, centers)
    with pytest.raises(CheckpointError, match="holds other clusters than when the run began"):
        pretrain(config(speech, tmp_path / "whole", *more), silent)


def test_two_iterations_and_what_is_said_on_the_way(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, f"data.train={speech}", "optim.max_updates=1"]
    assert run(monkeypatch, "pretrain", "--config", "clusters", *words, f"run.dir={tmp_path / 'first'}") == 0
    assert "clusters of frames of MFCC: layer 1, K = 6" in capsys.readouterr().err
    second = [f"clusters.model={tmp_path / 'first'}", "clusters.layers=[1,3]", f"run.dir={tmp_path / 'second'}"]
    assert run(monkeypatch, "pretrain", "--config", "clusters", *words, *second) == 0
    assert load_model(tmp_path / "second").head is None
    report = json.loads((tmp_path / "second" / "clusters" / "report.json").read_text())
    assert [one["layer"] for one in report] == [1, 3]
    stored = StoredLabels(tmp_path / "second" / "clusters")
    assert len(stored.places) == 10 and next(iter(stored.places.values())).frames > 20
    second[1] = "clusters.layers=[1,4]"
    assert run(monkeypatch, "pretrain", "--config", "clusters", *words, *second[:2], f"run.dir={tmp_path / 'x'}") == 2
    assert "clusters.layers has 4, expected 1 to 3, the blocks of" in capsys.readouterr().err
    assert run(monkeypatch, "pretrain", "--config", "clusters", *words, f"run.dir={tmp_path / 'y'}", "--dry-run") == 0
    assert not (tmp_path / "y").exists()


@pytest.mark.slow
def test_two_processes_find_the_same_clusters_and_learn_the_same(speech: Path, tmp_path: Path) -> None:
    more = ["data.max_samples=9600", "data.min_samples=9600", "data.buckets=1", "data.audio_per_update=6"]
    for name, ranks, own in (("one", 1, "data.batch_seconds=6"), ("two", 2, "data.batch_seconds=3")):
        words = [*SMALL, f"data.train={speech}", f"run.dir={tmp_path / name}", "optim.accumulate=0", *more, own]
        finish(["--config", "clusters", *words], tmp_path / f"{name}.log", ranks=ranks)
    for file in ("clusters.safetensors", "part_00000/labels.npy", "part_00000/clips.json", "report.json"):
        ours, theirs = (tmp_path / name / "clusters" / file for name in ("two", "one"))
        assert ours.read_bytes() == theirs.read_bytes()
    for line, other in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        for name in ("loss", "hidden_accuracy", "grad_norm"):
            assert line[name] == pytest.approx(other[name], rel=1e-3)


def test_a_network_learns_the_clusters_of_tones(speech: Path, tmp_path: Path) -> None:
    """Each clip is a tone of its own pitch, which its frames tell."""
    more = ["optim.max_updates=60", "optim.lr=5e-3", "hidden.share=0", "data.batch_seconds=12"]
    pretrain(config(speech, tmp_path, *more), silent)
    accuracy = [line["seen_accuracy"] for line in metrics(tmp_path)]
    assert np.mean(accuracy[-5:]) > 2 * np.mean(accuracy[:3]) and np.mean(accuracy[-5:]) > 50


def test_frames_that_follow_each_other_otherwise_are_refused(speech: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MFCC has a frame every 320 samples and the model one every 160"):
        pretrain(config(speech, tmp_path, "model.strides=[5,2,2,2,2,2,1]"), silent)


def test_the_objective_decides_which_settings_there_are(root: Path) -> None:
    given = ["data.train=x", "run.dir=y"]
    assert isinstance(load_config(None, given), PretrainConfig)
    assert isinstance(load_config(root / "configs" / "pretrain" / "base.yaml", given), PretrainConfig)
    found = load_config(root / "configs" / "pretrain" / "clusters.yaml", given)
    assert isinstance(found, ClusterConfig) and without_effect(found) == []
    with pytest.raises(ConfigError) as raised:
        load_config(
            None, [*given, "objective=clusters", "hidden.share=1", "augment.speed_prob=0.1", "clusters.counts=[2,2]"]
        )
    for told in ("hidden.share is 1.0", "augment.speed_prob is 0.1, expected 0", "clusters.counts is [2, 2]"):
        assert told in str(raised.value)
    with pytest.raises(ConfigError, match="unknown key ema"):
        load_config(None, [*given, "objective=clusters", "ema.decay=0.5"])
    for name, other in (("base", "clusters"), ("clusters", "emotion2vec")):
        with pytest.raises(
            ConfigError, match=rf"objective is {other}, and .*{name}\.yaml is for .*, expected --config"
        ):
            load_config(root / "configs" / "pretrain" / f"{name}.yaml", [*given, f"objective={other}"])
    with pytest.raises(ConfigError, match="objective is 'words', expected one of emotion2vec, clusters"):
        load_config(None, [*given, "objective=words"])
    assert isinstance(idle := load_config(None, [*given, "objective=clusters", "clusters.layers=[2]"]), ClusterConfig)
    assert without_effect(idle) == [
        "clusters.layers is [2], which has no effect: clusters.model is empty, and cepstra are one layer"
    ]
