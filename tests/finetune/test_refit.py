"""A second model, of all clips: what it learns from, for how long, and what is said of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import quick, quick_config
from finetune.test_prescribed import files_of, write_split
from finetune.test_run import metrics, run
from safetensors.torch import load_file

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.run import finetune
from emotion2vec.probe.results import ProbeResult
from emotion2vec.report.run import write_run_report

REFIT = ["validation.refit=true", "checkpoint.keep_every=2"]
PARTS = {"s0": "train", "s1": "train", "s2": "valid", "s3": "test"}
ALL = {**PARTS, "s2": "train", "s3": "valid"}


def silent(text: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize("more", [["finetune.head_first=2"], ["finetune.strategy=frozen", "finetune.solve=99"]])
def test_it_is_what_all_clips_teach_in_as_many_updates(
    more: list[str], talkers: Path, model: Path, tmp_path: Path
) -> None:
    """The same as a run that those clips train from the start, looked at after so many updates."""
    for name, parts, own in (("refit", PARTS, REFIT), ("plain", ALL, REFIT[1:])):
        split = write_split(tmp_path / f"{name}.csv", {file: parts[who] for file, who in files_of(talkers).items()})
        finetune(quick_config(talkers, model, tmp_path / name, f"data.split={split}", *own, *more), silent)
    facts = json.loads((tmp_path / "refit" / "finetuned.json").read_text())
    first = json.loads((tmp_path / "refit" / "chosen" / "finetuned.json").read_text())
    assert facts == {**first, "refit": True} and facts["validation_clips"] == 6
    checkpoint = f"checkpoints/update_{facts['update']:08d}"
    ours, theirs = (load_file(tmp_path / name / checkpoint / "model.safetensors") for name in ("refit", "plain"))
    assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
    before = load_file(tmp_path / "refit" / "chosen" / "model.safetensors")
    assert not torch.equal(before["head.weight"], ours["head.weight"])
    plain, published = load_model(tmp_path / "refit" / checkpoint), load_model(tmp_path / "refit")
    clip = talkers.parent / "s3_anger_0.wav"
    logits = np.log([*plain.predict(clip).values()]) / facts["temperature"]
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert facts["temperature"] != 1 and [*published.predict(clip).values()] == pytest.approx(wanted, abs=1e-5)
    scores = ProbeResult.from_dict(json.loads((tmp_path / "refit" / "validation.json").read_text()))
    assert scores.results[0].pooled["UA"] == pytest.approx(first["validation"]["UA"], abs=0.01)
    for document, told in (("README.md", "those held out too"), ("report.html", "this one learnt from all clips")):
        for name in ("refit", "plain"):
            write_run_report(tmp_path / name)
        assert told in (tmp_path / "refit" / document).read_text()
        assert told not in (tmp_path / "plain" / document).read_text()


def test_killed_in_the_second_model_and_resumed(talkers: Path, model: Path, tmp_path: Path) -> None:
    more = [*REFIT, "validation.every=6"]  # so that the last update is the best
    whole, parts = (quick(talkers, model, tmp_path / name, *more) for name in ("whole", "parts"))
    log = tmp_path / "log"
    assert run(whole, log) == 0, log.read_text()
    shutil.copytree(tmp_path / "whole" / "chosen", tmp_path / "parts" / "chosen")
    assert run(parts, log, die_in_step=4) == 9
    assert not (tmp_path / "parts" / "model.json").exists()
    assert run(parts, log) == 0 and "resumed after update 2 from" in log.read_text()
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("parts", "whole"))
    assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    log = tmp_path / "again"
    assert run(quick(talkers, model, tmp_path / "whole", *more), log) == 0
    assert "a first model says" not in log.read_text()
    assert run(quick(talkers, model, tmp_path / "whole", *more, "optim.lr=0.5"), log) == 2
    assert "optim.lr is 0.01 there and 0.5 now" in log.read_text()


def test_folds_have_two_models_each_and_say_so(talkers: Path, model: Path, tmp_path: Path) -> None:
    more = [*REFIT, "evaluate.folds=speaker:2", "evaluate.final=false", "optim.epochs=1"]
    found = finetune(quick_config(talkers, model, tmp_path, *more), silent).scores
    assert found is not None and found.about.settings["selection"].endswith(", then anew on all of training")
    (row,) = found.results
    for fold, folder in zip(row.folds, sorted((tmp_path / "folds").iterdir()), strict=True):
        facts = json.loads((folder / "finetuned.json").read_text())
        (chosen,) = fold.chosen
        assert chosen["update"] == facts["update"] and facts["refit"]
        assert chosen["validation_score"] == pytest.approx(facts["validation"]["score"], abs=1e-3)
    said: list[str] = []
    finetune(quick_config(talkers, model, tmp_path, *more), said.append)  # all are done
    assert not any("teach" in line for line in said)


@pytest.mark.parametrize("before", ["true", "false"])
def test_it_is_not_turned_on_or_off_in_a_run_that_is_there(
    before: str, talkers: Path, model: Path, tmp_path: Path
) -> None:
    """Checkpoints of one know clips that the other holds out."""
    finetune(quick_config(talkers, model, tmp_path, f"validation.refit={before}"), silent)
    other = {"true": "false", "false": "true"}[before]
    with pytest.raises(ConfigError, match=r"validation\.refit is (True|False) there and (True|False) now"):
        finetune(quick_config(talkers, model, tmp_path, f"validation.refit={other}"), silent)


def test_processes_that_were_started_together_are_refused(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"validation\.refit trains several models.*expected one process.*not 2"):
        finetune(quick_config(talkers, model, tmp_path, *REFIT), silent)


def test_one_process_trains_two_models() -> None:
    with pytest.raises(ConfigError, match=r"validation\.refit trains several models.*not 2"):
        load_config(None, ["data.table=t.csv", "validation.refit=true", "run.devices=2"])
