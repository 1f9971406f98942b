"""Kills, signals, full disks and lost data: a run always goes on from its last complete checkpoint."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import tiny_config
from training.helpers import Run, assert_same_run, finish, metrics, overrides

from emotion2vec.checkpoint.native import checkpoints
from emotion2vec.errors import CheckpointError, StorageError
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.run import pretrain
from emotion2vec.training.run_folder import RunFolder, TrainingState
from emotion2vec.training.saver import Saver
from emotion2vec.training.trainer import Trainer

resource = pytest.importorskip("resource", reason="Windows has none")

RANDOM = ["model.dropout=0.1", "model.layerdrop=0.2", "decoder.mask_noise=0.01"]


@pytest.mark.parametrize(
    ("kills", "ranks"),
    [(6, 1), pytest.param(30, 1, marks=pytest.mark.slow), pytest.param(30, 2, marks=pytest.mark.slow)],
)
def test_killed_at_random_moments(speech: Path, tmp_path: Path, kills: int, ranks: int) -> None:
    last = 2 * kills
    settings = [
        *RANDOM,
        "optim.accumulate=2",
        f"optim.max_updates={last}",
        "checkpoint.every=1",
        "data.batch_seconds=3",
    ]
    whole, parts = (overrides(speech, tmp_path / name, *settings) for name in ("whole", "parts"))
    rng = np.random.default_rng(kills + ranks)
    killed = 0
    while killed < kills and len(checkpoints(tmp_path / "parts")) < last:
        run = Run(parts, tmp_path / "parts.log", ranks=ranks)
        if killed % 4:  # else anywhere in the start
            before = _size(tmp_path / "parts" / "metrics.jsonl")
            while _size(tmp_path / "parts" / "metrics.jsonl") in (0, before) and run.processes[0].is_alive():
                time.sleep(0.002)
        time.sleep(rng.exponential(0.1))
        killed += any(process.is_alive() for process in run.processes)
        run.kill()
    assert killed >= kills // 2
    finish(parts, tmp_path / "parts.log", ranks=ranks)
    finish(whole, tmp_path / "whole.log", ranks=ranks)
    assert_same_run(tmp_path / "parts", tmp_path / "whole", last)


@pytest.mark.slow
def test_torchrun_restarts_what_was_killed(speech: Path, tmp_path: Path) -> None:
    """The example of several machines, here with two processes of one; one of them is killed."""
    script = Path(__file__).parents[2] / "examples" / "cluster" / "torchrun.sh"
    settings = [*RANDOM, "optim.max_updates=60", "checkpoint.every=5", "optim.accumulate=2", "run.accelerator=cpu"]
    whole, parts = (overrides(speech, tmp_path / name, *settings, "data.workers=0") for name in ("whole", "parts"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = {"HOST": "127.0.0.1", "RDZV_PORT": port, "GPUS": "2", "DATA": str(speech), "RUN": str(tmp_path / "parts")}
    search = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (
        open(tmp_path / "parts.log", "wb") as log,
        subprocess.Popen(["bash", script, *parts], stdout=log, stderr=log, env=os.environ | places | search) as agent,
    ):
        try:
            until = time.monotonic() + 120
            while len(checkpoints(tmp_path / "parts")) < 2:
                assert agent.poll() is None and time.monotonic() < until, (tmp_path / "parts.log").read_text()
                time.sleep(0.01)
            ranks = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
            os.kill(int(ranks[-1]), signal.SIGKILL)
            assert agent.wait(300) == 0, (tmp_path / "parts.log").read_text()
        finally:
            agent.terminate()  # as SIGTERM it ends the ranks too
    assert "resumed after update" in (tmp_path / "parts.log").read_text()
    finish(whole, tmp_path / "whole.log", ranks=2)
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 60)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_sigterm_saves_and_has_an_exit_code_of_its_own(speech: Path, tmp_path: Path, ranks: int) -> None:
    run = Run(overrides(speech, tmp_path / "run", "optim.max_updates=100000"), tmp_path / "log", ranks=ranks)
    run.wait_for(tmp_path / "run" / "metrics.jsonl")
    os.kill(run.processes[-1].pid or 0, signal.SIGTERM)  # one process is told, all stop after the same update
    assert run.wait() == [75, 0][:ranks], run.said
    saved = metrics(tmp_path / "run")[-1]["update"]
    assert f"stopped after update {saved} of 100000 and saved" in run.said
    assert checkpoints(tmp_path / "run")[-1].name == f"update_{int(saved):08d}"


def test_in_the_background_sigterm_saves_and_ctrl_c_is_for_others(speech: Path, tmp_path: Path) -> None:
    """As a script starts it, `nohup emotion2vec pretrain ... &`, and even where SIGTERM was ignored."""
    arguments = overrides(speech, tmp_path / "run", "optim.max_updates=100000")
    script = "trap '' INT TERM; exec nohup \"$@\""
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "emotion2vec", "pretrain", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        try:
            begun = _updates(tmp_path / "run", 1, run)
            for number in (signal.SIGINT, signal.SIGHUP):
                run.send_signal(number)
            assert _updates(tmp_path / "run", begun + 3, run)
            run.send_signal(signal.SIGTERM)
            said = run.stderr.read().decode()
            assert run.wait(60) == 75, said
        finally:
            run.kill()
    assert re.search(r"stopped after update \d+ of 100000 and saved", said)
    assert checkpoints(tmp_path / "run")[-1].name == f"update_{int(metrics(tmp_path / 'run')[-1]['update']):08d}"


def _updates(folder: Path, least: int, process: subprocess.Popen[bytes]) -> int:
    """Wait until so many updates have been logged; how many there are."""
    until = time.monotonic() + 120
    file = folder / "metrics.jsonl"
    while (lines := file.read_bytes().count(b"\n") if file.exists() else 0) < least:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return lines


@pytest.fixture
def small_disk() -> Generator[None, None, None]:
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.parametrize("background", ["true", "false"])
def test_full_disk_leaves_the_checkpoint_before_it(
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_disk: None,
    background: str,
) -> None:
    settings = [*RANDOM, "checkpoint.every=1", f"checkpoint.background={background}"]
    whole, parts = (load_config(None, overrides(speech, tmp_path / name, *settings)) for name in ("whole", "parts"))
    pretrain(whole)
    run_update = Trainer._run_update

    def filling(self: Trainer, data: object, monitor: object, saver: object, prober: object) -> None:
        if self.update == 2:
            saver._settle()  # type: ignore[attr-defined]  # the second checkpoint is on disk before it fills
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # files end after 20 kB
        run_update(self, data, monitor, saver, prober)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_run_update", filling)
    with pytest.raises(CheckpointError, match=r"update_00000004: could not be written .*update_00000002 is complete"):
        pretrain(parts)
    assert "update_00000003: could not be written" in capsys.readouterr().err.replace("\n", "")
    names = sorted(path.name for path in (tmp_path / "parts" / "checkpoints").iterdir())
    assert names == ["update_00000001", "update_00000002"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.undo()
    pretrain(parts)
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 4)


def test_a_resume_on_a_full_disk_leaves_the_folder_as_it_was(speech: Path, tmp_path: Path, small_disk: None) -> None:
    settings = overrides(speech, tmp_path / "run", "optim.max_updates=2")
    pretrain(load_config(None, settings))
    names = ("config.yaml", "versions.json", "computing.json", "metrics.jsonl")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))  # files end after 100 bytes
    with pytest.raises(StorageError, match=r"run\.dir .*cannot be written: .*what was there is intact"):
        pretrain(load_config(None, [*settings, "log.every=2"]))
    with pytest.raises(StorageError, match="what was there is intact"):
        RunFolder(load_config(None, settings)).tidy(2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert {name: (tmp_path / "run" / name).read_bytes() for name in names} == before
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.endswith(".partial")]


def test_the_last_save_tries_again_what_the_background_could_not_write() -> None:
    written: list[int] = []

    def full() -> None:
        raise CheckpointError("disk full")

    said: list[str] = []
    with Saver(background=True, say=said.append) as saver:
        saver.save(full)
        assert saver.failed() and "disk full; training goes on" in said[0]
        saver.save(lambda: written.append(1))
        assert not saver.failed() and written == [1]
        with pytest.raises(CheckpointError, match="disk full"):
            saver.save(full, last=True)


def test_a_source_that_comes_back_changes_nothing(speech: Path, tmp_path: Path) -> None:
    here, away = tmp_path / "speech", tmp_path / "away"
    here.symlink_to(speech)
    settings = [*RANDOM, "optim.max_updates=12", "optim.accumulate=2"]
    whole, parts = (load_config(None, overrides(here, tmp_path / name, *settings)) for name in ("whole", "parts"))
    pretrain(whole)

    def unplug() -> None:
        while _size(tmp_path / "parts" / "metrics.jsonl") == 0:
            time.sleep(0.001)
        here.rename(away)
        time.sleep(0.5)
        away.rename(here)

    thread = threading.Thread(target=unplug)
    thread.start()
    pretrain(parts)
    thread.join()
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 12)


def test_a_source_that_stays_away_stops_the_run_cleanly(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "speech"
    here.symlink_to(speech)
    step = Trainer._step

    def unplugging(self: Trainer, update: int, *rest: object) -> dict[str, float]:
        if update == 3:
            here.unlink()
        return step(self, update, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_step", unplugging)
    config = load_config(None, overrides(here, tmp_path / "run", "optim.max_updates=9", "data.patience=0.2"))
    with pytest.raises(StorageError, match="stayed out of reach for"):
        pretrain(config)
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["update_00000003"]


@pytest.mark.parametrize(
    ("best_by", "file", "line", "best"),
    [
        ("none", None, "", None),
        ("validation", "metrics.jsonl", "validation_loss", 4),
        ("probe", "probes.jsonl", "UA", 2),
    ],
)
def test_kept_are_the_last_every_nth_and_the_best(
    tmp_path: Path, best_by: str, file: str | None, line: str, best: int | None
) -> None:
    settings = ["checkpoint.keep_last=1", "checkpoint.keep_every=3", f"checkpoint.keep_best={best_by}"]
    settings += [
        "checkpoint.every=1",
        "validation.every=1",
        "validation.data=x",
        "probe.every=1",
        "probe.table=x",
    ]
    folder = RunFolder(tiny_config(f"run.dir={tmp_path}", *settings))
    for update, score in enumerate([5.0, 9.0, 4.0, 1.0, 2.0, 3.0, 2.0], start=1):
        if file is not None:
            with (tmp_path / file).open("a") as stream:
                stream.write(json.dumps({"update": update, line: score}) + "\n")
        folder.save(TrainingState({"update": update}, {"w": torch.zeros(1)}, {"v": torch.zeros(1)}), keep=[5])
    kept = {int(path.name.removeprefix("update_")) for path in checkpoints(tmp_path)}
    assert kept == {3, 5, 6, 7} | ({best} if best else set())
