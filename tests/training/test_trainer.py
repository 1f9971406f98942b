"""The loop: restarts, guards, interrupts and a golden loss curve."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import TINY
from safetensors.torch import load_file
from signals import start_child

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.heard import read_heard
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import ConfigError, TrainingError
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.metrics import refuse_collapse
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.run import build_pretrainer, pretrain
from emotion2vec.pretrain.targets import UtteranceTarget
from emotion2vec.training.config import GuardConfig
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.trainer import Trainer

TIMINGS = {"seconds", "data_wait", "audio_seconds_per_second", "mfu", "memory_gb"}
CURVE = Path(__file__).with_name("loss_curve.txt")

# Runs `pretrain` in a process of its own that dies, as by SIGKILL, in the middle of the update given first.
CHILD = """
import os, sys
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.training.trainer import Trainer
step, die = Trainer._step, int(sys.argv[1])
Trainer._step = lambda self, update, *rest: os._exit(9) if update == die else step(self, update, *rest)
pretrain(load_config(None, sys.argv[2:]))
"""


def overrides(speech: Path, run: Path, *more: str) -> list[str]:
    return [*TINY, f"data.train={speech}", f"run.dir={run}", "log.every=1", *more]


def run_child(die: int, arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-c", CHILD, str(die), *arguments], capture_output=True).returncode


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_bit_for_bit_uninterrupted(speech: Path, tmp_path: Path, workers: int) -> None:
    changed = [
        "model.dropout=0.1",
        "model.layerdrop=0.3",
        "decoder.mask_noise=0.01",
        "optim.accumulate=2",
        "optim.max_updates=7",
        "checkpoint.every=2",
        f"data.workers={workers}",
    ]
    whole, parts = (overrides(speech, tmp_path / name, *changed) for name in ("whole", "parts"))
    assert run_child(0, whole) == 0
    assert run_child(6, parts) == 9
    assert run_child(0, parts) == 0
    last = Path("checkpoints/update_00000007")
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = (load_file(tmp_path / run / last / name) for run in ("parts", "whole"))
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert [line["update"] for line in metrics(tmp_path / "whole")] == list(range(1, 8))


def test_run_folder(speech: Path, tmp_path: Path) -> None:
    pretrain(load_config(None, overrides(speech, tmp_path, "checkpoint.every=1", "checkpoint.keep_last=2")))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["update_00000003", "update_00000004"]
    assert load_config(tmp_path / "config.yaml").optim.lr == 1e-3
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert versions["torch"] and "git_commit" in versions
    line = metrics(tmp_path)[-1]
    assert line["loss"] == pytest.approx(line["frame_loss"] + line["utterance_loss"], rel=1e-5)
    assert load_model(tmp_path).config.width == 32


def test_interrupt_saves_and_says_how_to_resume(speech: Path, tmp_path: Path) -> None:
    arguments = overrides(speech, tmp_path / "run", "optim.max_updates=100000")
    command = [sys.executable, "-m", "emotion2vec", "pretrain", *arguments]
    child = start_child(command, stderr=subprocess.PIPE, text=True)
    metrics_file = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics_file.exists() and metrics_file.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    try:
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    found = re.search(r"stopped after update (\d+) of 100000 and saved; the same command continues", errors)
    assert found, errors
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "checkpoints" / f"update_{int(found[1]):08d}" / "training.json").is_file()


def test_other_settings_do_not_continue_a_run(speech: Path, tmp_path: Path) -> None:
    pretrain(load_config(None, overrides(speech, tmp_path)))
    changed = load_config(None, overrides(speech, tmp_path, "optim.lr=0.5", "log.every=3"))
    with pytest.raises(ConfigError, match=r"optim.lr is 0.001 there and 0.5 now") as raised:
        pretrain(changed)
    assert "log.every" not in str(raised.value)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_not_finite_stops_before_the_optimizer_moves(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    forward = Pretrainer.forward
    seen: dict[str, torch.Tensor] = {}

    def poisoned(self: Pretrainer, waveforms: torch.Tensor, *rest: object) -> object:
        seen.update({name: value.clone() for name, value in self.state_dict().items()})
        output = forward(self, waveforms, *rest)  # type: ignore[arg-type]
        if where == "loss":
            output.frame_loss = output.frame_loss * float("nan")
        else:
            output.frame_loss.register_hook(lambda grad: grad * float("inf"))
        return output

    monkeypatch.setattr(Pretrainer, "forward", poisoned)
    trainers: list[Trainer] = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *given: trainers.append(self) or fit(self, *given))
    with pytest.raises(TrainingError, match=r"update 1: .* (nan|inf).*clip"):
        pretrain(load_config(None, overrides(speech, tmp_path)))
    state = trainers[0].objective.network.state_dict()
    assert [name for name, value in state.items() if not torch.equal(value, seen[name])] == []


@pytest.mark.parametrize("limit", ["guard.min_target_std=5", "guard.min_prediction_std=50"])
def test_collapse_stops_the_run(speech: Path, tmp_path: Path, limit: str) -> None:
    name = limit.split("=")[0]
    with pytest.raises(TrainingError, match=rf"update 3: the representation has collapsed: .*{name}"):
        pretrain(load_config(None, overrides(speech, tmp_path, limit, "guard.after_updates=2")))


def test_constant_utterance_target_stops_the_run() -> None:
    target = UtteranceTarget("plain", 4)
    for _ in range(3_000):
        target.update(torch.full((4,), 0.5), torch.full((4,), 0.25))
    metrics = {"target_std": 1.0, "prediction_std": 1.0, "utterance_target_std": float(target.std().mean())}
    with pytest.raises(TrainingError, match="utterance target is the same for all utterances"):
        refuse_collapse(1, metrics, GuardConfig(after_updates=0))
    refuse_collapse(1, metrics | {"utterance_target_std": 0.01}, GuardConfig(after_updates=0))


def test_unusable_file_is_named_and_skipped(speech: Path, tmp_path: Path) -> None:
    import shutil

    import numpy as np
    import soundfile

    folder = tmp_path / "speech"
    shutil.copytree(speech, folder)
    (folder / "broken.wav").write_bytes(b"not audio")
    bad = np.zeros(16_000, dtype=np.float32)
    bad[5] = np.nan
    soundfile.write(folder / "nan.wav", bad, 16_000, subtype="FLOAT")
    said: list[str] = []
    result = pretrain(load_config(None, overrides(folder, tmp_path / "run", "data.max_bad_share=0.2")), say=said.append)
    assert result.update == 4
    assert any("broken.wav" in line for line in said)
    from emotion2vec.errors import ManifestError

    with pytest.raises(ManifestError, match=r"1 of 12 .*broken.wav"):
        pretrain(load_config(None, overrides(folder, tmp_path / "other")), say=said.append)


def test_warm_start(speech: Path, tmp_path: Path) -> None:
    pretrain(load_config(None, overrides(speech, tmp_path / "first")))
    said: list[str] = []
    config = load_config(None, overrides(speech, tmp_path / "second", f"init.from={tmp_path / 'first'}"))
    started, _ = build_pretrainer(config, said.append)
    trained = load_model(tmp_path / "first").state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in started.student.state_dict().items())
    backbone = {n.removeprefix("backbone."): v for n, v in trained.items() if n.startswith("backbone.")}
    assert all(torch.equal(v, backbone[n]) for n, v in started.teacher.backbone.state_dict().items())
    decoder = read_source(tmp_path / "first").decoder
    assert all(torch.equal(value, decoder[name]) for name, value in started.decoder.state_dict().items())
    assert said[0] == f"started from {tmp_path / 'first'} (native, student): 100.0 % of the network's weights"
    assert not any("new:" in line for line in said)
    assert said[-1].startswith("  left there: the teacher (")
    assert said[-1].endswith("training.safetensors (optimizer state)")


@pytest.mark.usefixtures("products")
def test_golden_loss_curve(speech: Path, tmp_path: Path) -> None:
    """A change that keeps the mathematics keeps this file; write it anew by deleting it and running this test."""
    pretrain(load_config(None, overrides(speech, tmp_path, "optim.max_updates=20", "optim.accumulate=2")))
    names = ("frame_loss", "utterance_loss", "target_std", "prediction_std", "grad_norm")
    found = [[line[name] for name in names] for line in metrics(tmp_path)]
    if not CURVE.exists():
        rows = [" ".join(f"{value:.6g}" for value in row) for row in found]
        CURVE.write_text("\n".join([" ".join(names), *rows]) + "\n")
        pytest.fail(f"{CURVE.name} was missing and is written now")
    header, *rows = CURVE.read_text().splitlines()
    assert header.split() == list(names)
    expected = [[float(value) for value in row.split()] for row in rows]
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_utterance_enters_the_target_once(speech: Path, tmp_path: Path, accumulate: int) -> None:
    """The first update's are taken in before it, so that its targets are standardized too."""
    settings = ["optim.max_updates=3", f"optim.accumulate={accumulate}", "loss.utterance=chunk"]
    sizes: list[int] = []
    fetch = Trainer._fetch

    def counting(self: Trainer, *rest: Any) -> Any:
        batches, size = fetch(self, *rest)
        sizes.append(sum(len(batch.ids) for batch in batches))
        return batches, size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_fetch", counting)
        pretrain(load_config(None, overrides(speech, tmp_path, *settings)))
    folder = sorted((tmp_path / "checkpoints").glob("update_*"))[-1]
    state = load_file(folder / "training.safetensors")
    (updates,) = [value for name, value in state.items() if name.endswith("utterance_target.updates")]
    (utterances,) = [value for name, value in state.items() if name.endswith("utterance_target.utterances")]
    assert updates.item() == 3 and utterances.item() == sum(sizes)


def test_a_probe_adds_the_labels_that_chose_to_the_checkpoint_that_they_chose(speech: Path, tmp_path: Path) -> None:
    config = load_config(None, overrides(speech, tmp_path, "optim.max_updates=2"))
    pretrain(config)
    folder = RunFolder(config)
    folder.note_labels(2, [7, 3])
    folder.note_labels(1, [9])  # which is gone
    heard = read_heard(sorted((tmp_path / "checkpoints").glob("update_*"))[-1])
    assert heard is not None and heard.labels.tolist() == [3, 7] and len(heard.audio)
