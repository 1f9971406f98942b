"""Whole runs: a killed one goes on bit for bit, two processes do what one does, and the student is a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from distil.students import LOGMEL, SMALL, WAVEFORM, save_teacher, settings
from training.helpers import Run, assert_same_run, finish, metrics, tensors

from emotion2vec.checkpoint import load_model
from emotion2vec.cli import main


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher") / "t", **LOGMEL)


def overrides(teacher: Path, speech: Path, run: Path, *more: str) -> list[str]:
    return [*settings(teacher), f"data.train={speech}", f"run.dir={run}", *more]


def test_a_killed_run_goes_on_bit_for_bit_in_a_new_process(teacher: Path, speech: Path, tmp_path: Path) -> None:
    more = ["optim.max_updates=4", "checkpoint.every=2", "optim.accumulate=2", "data.batch_seconds=3"]
    more += ["augment.gain_prob=0.5", "augment.reverb_prob=0.5", "model.dropout=0.1", "model.layerdrop=0.3"]
    more += ["validation.every=2", f"validation.data={speech}"]
    whole, parts = (overrides(teacher, speech, tmp_path / name, *more) for name in ("whole", "parts"))
    finish(whole, tmp_path / "whole.log", verb="distil")
    assert Run(parts, tmp_path / "parts.log", die_in_step=4, verb="distil").wait() == [9]
    assert "resumed after update 2" in finish(parts, tmp_path / "parts.log", verb="distil")
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 4)
    saved = tensors(tmp_path / "whole", 4)
    assert saved["pretrainer.statistics.0.updates"] == 4  # one per update, that of the first before it
    assert not any("teacher" in name for name in saved if name != "run.teacher")
    watched = {"explained_share_2", "explained_share_3", "validation_explained_share_3"}
    assert watched <= metrics(tmp_path / "whole")[3].keys()


def test_two_processes_do_what_one_does(teacher: Path, tmp_path: Path, equal_speech: Path) -> None:
    more = ["optim.max_updates=4", "data.max_samples=16000", "data.buckets=1", "optim.clip_norm=1"]
    for name, ranks, own in (("one", 1, ["data.batch_seconds=8"]), ("two", 2, ["data.batch_seconds=4"])):
        finish(
            overrides(teacher, equal_speech, tmp_path / name, *more, *own),
            tmp_path / f"{name}.log",
            ranks=ranks,
            verb="distil",
        )
    ours, expected = tensors(tmp_path / "two", 4), tensors(tmp_path / "one", 4)
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        if not name.startswith("optimizer."):
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")
    for line, other in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        watched = ("loss", "frame_loss", "pooled_loss", "explained_share_2", "grad_norm", "left_out")
        assert {name: line[name] for name in watched} == pytest.approx({n: other[n] for n in watched}, rel=1e-4)


@pytest.mark.parametrize("kind", [LOGMEL, WAVEFORM], ids=["logmel", "waveform"])
def test_a_student_that_starts_as_its_teacher_soon_says_what_that_says(
    kind: dict[str, object], speech: Path, tmp_path: Path
) -> None:
    """Only the prediction heads have to be learnt, if both hear the same at the same time."""
    teacher = save_teacher(tmp_path / "teacher", **kind)
    student = [f"model.{key}={value}".replace(" ", "") for key, value in {**SMALL, **kind}.items()]
    more = ["init.from_teacher=true", "optim.max_updates=60", "optim.lr=5e-3", "data.batch_seconds=12"]
    arguments = [*overrides(teacher, speech, tmp_path / "run", *more), *student]
    said = finish(arguments, tmp_path / "log", verb="distil")
    assert "100.0 % of the network's weights" in said
    lines = metrics(tmp_path / "run")
    assert lines[0]["explained_share"] < 0.2 and lines[-1]["explained_share"] > 0.3
    model = load_model(tmp_path / "run")
    assert model.config.width == 24 and model.extract_features(speech / "clip0.wav").utterance.shape == (24,)


def test_another_teacher_does_not_go_on(teacher: Path, speech: Path, tmp_path: Path) -> None:
    mine = save_teacher(tmp_path / "mine", **LOGMEL)
    arguments = overrides(mine, speech, tmp_path / "run", "optim.max_updates=2")
    finish(arguments, tmp_path / "log", verb="distil")
    save_teacher(tmp_path / "mine", seed=8, **LOGMEL)
    run = Run(arguments, tmp_path / "again.log", verb="distil")
    assert run.wait() == [2] and "mine has other weights" in run.said and "Traceback" not in run.said


def test_names_of_shipped_configurations(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With and without the verb's name before them; what is missing is said at once."""
    for name in ("compact", "distil/compact"):
        monkeypatch.setattr("sys.argv", ["emotion2vec", "distil", "--config", name, "optim.lr=-1"])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2
        for words in ("teacher is empty", "data.train is empty", "run.dir is empty", "optim.lr is -1.0"):
            assert words in said
