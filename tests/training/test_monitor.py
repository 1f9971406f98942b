"""What a run shows while it works."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.training import monitor as module
from emotion2vec.training.config import LogConfig
from emotion2vec.training.monitor import Monitor

METRICS = {"loss": 2.0, "frame_loss": 1.5, "utterance_loss": 0.5, "explained_share": 0.25}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def open_monitor(folder: Path, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> tuple[Monitor, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    monkeypatch.setattr(module, "Console", lambda stderr: console)
    return Monitor(
        folder / "metrics.jsonl", LogConfig(), 1, 40, is_main=True, verb="pretrain", shown=Pretraining.shown
    ), stream


def test_the_bar_moves_with_every_update_and_its_speed_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monitor, _ = open_monitor(tmp_path, monkeypatch, terminal=True)
    with monitor:
        assert monitor._bar is not None
        (task,) = monitor._bar.tasks
        for update in range(1, 6):
            clock.now += 40.0
            if update == 1:
                monitor.log(update, METRICS)
            monitor.advance(update, 12.0)
            assert task.completed == update
            assert task.fields["status"].startswith("loss 2.000  frame 1.500  utterance 0.500  explained 0.25")
            assert task.fields["status"].endswith("  0.30 s audio/s")  # 12 s in 40 s


def test_the_speed_is_that_of_the_last_half_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monitor, _ = open_monitor(tmp_path, monkeypatch, terminal=True)
    with monitor:
        assert monitor._bar is not None
        for update in range(1, 101):
            clock.now += 10.0 if update == 1 else 0.5
            monitor.advance(update, 12.0)
        assert monitor._bar.tasks[0].fields["status"] == "24 s audio/s"  # the slow first update is forgotten


def test_lines_without_a_terminal_never_leave_one_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monitor, stream = open_monitor(tmp_path, monkeypatch, terminal=False)
    with monitor:
        for update in range(1, 41):
            clock.now += 4.0
            if update in (1, 10, 20, 30, 40):
                monitor.log(update, METRICS)
            monitor.advance(update, 2.0)
    lines = stream.getvalue().splitlines()
    losses = "loss 2.000  frame 1.500  utterance 0.500  explained 0.25  "
    assert lines[:3] == [
        f"update 1/40  {losses}0.50 s audio/s",
        "update 9/40  0.50 s audio/s",
        f"update 10/40  {losses}0.50 s audio/s",
    ]
    assert lines[-1] == f"update 40/40  {losses}0.50 s audio/s"
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in logged] == [1, 10, 20, 30, 40]
