"""What is saved when, what is tried again, and what a resumed run takes up beside weights."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.helpers import metrics, overrides

from emotion2vec.checkpoint.native import checkpoints, read_state
from emotion2vec.errors import CheckpointError
from emotion2vec.pretrain.config import load_config
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.run import pretrain
from emotion2vec.training.run_folder import RunFolder, TrainingState
from emotion2vec.training.saver import Saver
from emotion2vec.training.trainer import Trainer


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """A function: the update after which runs get SIGTERM; None for no more of it."""
    after: list[int | None] = [None]
    asked = Trainer._signal

    def signalled(self: Trainer, *given: Any) -> int | None:
        return int(signal.SIGTERM) if self.update == after[0] else asked(self, *given)

    monkeypatch.setattr(Trainer, "_signal", signalled)
    return lambda update: after.__setitem__(0, update)


def names(run: Path) -> list[str]:
    return [folder.name for folder in checkpoints(run)]


@pytest.mark.parametrize(("background", "failures"), [("true", 0), ("true", 1), ("true", 2), ("false", 1)])
def test_stopped_after_an_update_whose_checkpoint_failed(
    speech: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: Callable[[int | None], None],
    background: str,
    failures: int,
) -> None:
    """Its checkpoint is tried again on the way out, and written once where it was written before."""
    tried: list[int] = []
    save = RunFolder.save

    def failing(self: RunFolder, state: TrainingState, *rest: Any) -> Path:
        tried.append(state.values["update"])
        if len(tried) <= failures:
            raise CheckpointError("disk full")
        return save(self, state, *rest)

    monkeypatch.setattr(RunFolder, "save", failing)
    stop_after(2)
    settings = [f"checkpoint.background={background}", "checkpoint.every=2", "optim.max_updates=6"]
    config = load_config(None, overrides(speech, tmp_path, *settings))
    if failures == 2:
        with pytest.raises(CheckpointError, match="disk full"):
            pretrain(config, say=lambda text: None)
    else:
        assert pretrain(config, say=lambda text: None).update == 2
    assert tried == [2] * max(1, min(failures + 1, 2))
    assert names(tmp_path) == ([] if failures == 2 else ["update_00000002"])


@pytest.mark.parametrize(("every", "tried"), [(2, [2, 4, 5]), (5, [5]), (1, [1, 2, 3, 4, 5])])
def test_every_checkpoint_is_written_once(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, tried: list[int]
) -> None:
    """The last one too, whether it is due by its number or not; on a full disk it is not tried in vain."""
    seen: list[int] = []

    def full(self: RunFolder, state: TrainingState, *rest: Any) -> Path:
        seen.append(state.values["update"])
        raise CheckpointError("disk full")

    monkeypatch.setattr(RunFolder, "save", full)
    settings = [f"checkpoint.every={every}", "optim.max_updates=5"]
    with pytest.raises(CheckpointError, match="disk full"):
        pretrain(load_config(None, overrides(speech, tmp_path, *settings)), say=lambda text: None)
    assert seen == tried


def test_a_run_that_is_done_writes_nothing_again(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(None, overrides(speech, tmp_path, "optim.max_updates=2"))
    pretrain(config, say=lambda text: None)
    written: list[object] = []
    monkeypatch.setattr(RunFolder, "save", lambda self, *rest: written.append(rest))
    assert pretrain(config, say=lambda text: None).update == 2
    assert names(tmp_path) == ["update_00000002"] and written == []


def test_guards_go_on_where_they_were(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: Callable[[int | None], None]
) -> None:
    """The count of spikes, their row and the mean of the norms are those of a run that was never stopped."""
    settings = ["guard.spike=skip", "optim.max_updates=5", "checkpoint.keep_last=9"]
    forward, calls = Pretrainer.forward, [0]

    def poisoned(self: Pretrainer, *inputs: Any) -> Any:
        calls[0] += 1
        output = forward(self, *inputs)
        output.frame_loss = output.frame_loss * (float("nan") if calls[0] in (2, 3) else 1.0)
        return output

    monkeypatch.setattr(Pretrainer, "forward", poisoned)
    runs = {name: load_config(None, overrides(speech, tmp_path / name, *settings)) for name in ("whole", "parts")}
    pretrain(runs["whole"], say=lambda text: None)
    calls[0] = 0
    stop_after(3)
    pretrain(runs["parts"], say=lambda text: None)
    (folder,) = checkpoints(tmp_path / "parts")
    assert read_state(folder)["spikes"] | {"mean_norm": 0} == {"mean_norm": 0, "seen": 1, "spikes": 2, "streak": 2}
    stop_after(None)
    pretrain(runs["parts"], say=lambda text: None)
    ours, theirs = (read_state(checkpoints(tmp_path / name)[-1]) for name in ("parts", "whole"))
    assert ours == theirs and ours["spikes"]["seen"] == 3
    assert [line["spikes"] for line in metrics(tmp_path / "parts")] == [0, 1, 2, 2, 2]


def test_guards_that_go_on_refuse_what_they_would_have_refused(speech: Path, tmp_path: Path) -> None:
    """Norms of before a restart are the measure after it."""
    settings = ["optim.max_updates=2", "guard.spike_factor=2"]
    pretrain(load_config(None, overrides(speech, tmp_path, *settings)), say=lambda text: None)
    (folder,) = checkpoints(tmp_path)
    file = folder / "training.json"
    state = json.loads(file.read_text())
    state["spikes"] |= {"seen": 20, "mean_norm": 1e-9}
    file.write_text(json.dumps(state))
    config = load_config(None, overrides(speech, tmp_path, "optim.max_updates=3", "run.extend=true", settings[1]))
    with pytest.raises(Exception, match=r"update 3: grad_norm is .*, expected at most 2e-09 \(guard.spike_factor\)"):
        pretrain(config, say=lambda text: None)


@pytest.mark.parametrize("last", [True, False])
def test_checkpoints_are_written_one_after_the_other(last: bool) -> None:
    """The last one too, which is not written in the background, waits for the one before it."""
    begun, released = threading.Event(), threading.Event()
    events: list[str] = []

    def slow() -> None:
        begun.set()
        released.wait(10)
        events.append("first")

    with Saver(background=True, say=events.append) as saver:
        saver.save(slow)
        assert begun.wait(10) and events == []  # training goes on meanwhile
        threading.Timer(0.2, released.set).start()
        saver.save(lambda: events.append("second"), last=last)
        assert events[0] == "first" and (not last or events == ["first", "second"])
    assert events == ["first", "second"]


def test_leaving_waits_for_what_is_being_written() -> None:
    released, written = threading.Event(), []

    def slow() -> None:
        released.wait(10)
        written.append(True)

    with Saver(background=True, say=print) as saver:
        saver.save(slow)
        threading.Timer(0.2, released.set).start()
    assert written == [True]


def test_a_checkpoint_that_failed_is_forgotten_by_the_next() -> None:
    def fail() -> None:
        raise CheckpointError("no room")

    for background in (True, False):
        said: list[str] = []
        with Saver(background=background, say=said.append) as saver:
            assert not saver.failed()
            saver.save(fail)
            assert saver.failed()
            saver.save(lambda: None)
            assert not saver.failed() and len(said) == 1
            with pytest.raises(CheckpointError, match="no room"):
                saver.save(fail, last=True)
