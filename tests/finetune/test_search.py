"""Search: trials are plain runs, the study goes on after a kill, hopeless trials stop, and bad spaces are refused."""

from __future__ import annotations

import errno
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetune.talkers import quick, quick_config
from safetensors.torch import load_file
from training.helpers import Run

from emotion2vec.errors import ConfigError, TrainingError
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.search import run as running
from emotion2vec.finetune.search import study as studies
from emotion2vec.finetune.search.plan import SearchPlan, fixed_part, load_plan
from emotion2vec.finetune.search.run import Searched, search
from emotion2vec.finetune.search.space import Choices, Range, Space, read_space
from emotion2vec.finetune.search.study import Study
from emotion2vec.finetune.search.trial import Trial, lock_of
from emotion2vec.locks import LOCK, only_writer
from emotion2vec.training.trainer import FitResult

pytest.importorskip("optuna")

CONFIGS = Path(__file__).parents[2] / "configs"
CLASSIFY = CONFIGS / "finetune" / "classify.yaml"
RATES = [1e-8, 1e-7, 3e-2]
FROZEN = ["finetune.strategy=frozen", "optim.max_updates=12", "validation.every=4", "checkpoint.every=4"]


def silent(text: str) -> None:
    pass


def plan_of(talkers: Path, model: Path, run: Path, *more: str) -> SearchPlan:
    return load_plan(CLASSIFY, [*quick(talkers, model, run, *FROZEN), "sampler=grid", "trials=3", "pruner=none", *more])


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A grid of learning rates, of which the last one alone learns."""
    (tmp_path / "space.yaml").write_text(f"optim.lr: {{choices: {RATES}}}\n")
    return tmp_path / "space.yaml"


def scores(searched: Searched) -> dict[float, float | None]:
    return {row.values["optim.lr"]: row.value for row in searched.rows if row.state == "done"}


def test_the_best_of_a_grid_is_found_and_trials_are_plain_runs(
    talkers: Path, model: Path, space: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    plan = plan_of(talkers, model, tmp_path / "search", "data.clips=12")
    done = search(plan, read_space(space, fixed_part(plan), finite=True), said.append)
    assert sorted(scores(done)) == RATES and done.best is not None
    assert done.best.values == {"optim.lr": 3e-2} and done.best.value == max(scores(done).values())  # type: ignore[type-var]
    assert any("judged by validation on held-out speakers s" in line for line in said)
    best = load_config(tmp_path / "search" / "best.yaml", [f"run.dir={tmp_path / 'plain'}"])
    assert best.optim.lr == 3e-2 and best.optim.max_updates == 12
    finetune(best, silent)
    plain, trial = (load_file(folder / "model.safetensors") for folder in (tmp_path / "plain", done.best.folder))
    assert all(plain[name].equal(value) for name, value in trial.items()) and plain.keys() == trial.keys()
    assert not (done.best.folder / "checkpoints").exists()
    assert len(search(plan, read_space(space, fixed_part(plan)), silent).rows) == 3


def test_a_full_disk_ends_a_search_and_fails_no_trial(
    talkers: Path, model: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(talkers, model, tmp_path / "search", "optim.max_updates=4", "trials=2")
    choices, tried = read_space(space, fixed_part(plan), finite=True), []

    def full(*given: Any, **more: Any) -> FitResult:
        tried.append(1)
        if len(tried) == 2:
            raise ConfigError("run/x: cannot be written") from OSError(errno.ENOSPC, "No space left on device")
        return fit(*given, **more)

    fit = running.fit
    monkeypatch.setattr(running, "fit", full)
    with pytest.raises(ConfigError, match="run/x: cannot be written"):
        search(plan, choices, silent)
    states = [row.state for row in search(plan, choices, silent).rows]
    assert len(tried) == 3 and sorted(states) == ["done", "done", "stopped"]


@pytest.mark.parametrize(("code", "number"), [(sqlite3.SQLITE_FULL, errno.ENOSPC), (sqlite3.SQLITE_IOERR, errno.EIO)])
def test_a_full_disk_under_the_record_is_named(
    talkers: Path, model: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, number: int
) -> None:
    plan = plan_of(talkers, model, tmp_path / "search")

    def full(self: Study) -> Trial:
        fault = sqlite3.OperationalError("database or disk is full")
        fault.sqlite_errorcode = code
        raise RuntimeError("an exception is raised during the commit") from fault

    monkeypatch.setattr(Study, "next", full)
    with pytest.raises(OSError, match=r"search/study\.db") as raised:
        search(plan, read_space(space, fixed_part(plan), finite=True), silent)
    assert raised.value.errno == number


def test_a_killed_search_goes_on_with_the_trial_it_was_in(
    talkers: Path, model: Path, space: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log, run = tmp_path / "log", tmp_path / "parts"
    words = [*quick(talkers, model, run, *FROZEN), "sampler=grid", "trials=3", "pruner=none", f"space={space}"]
    assert Run(["search", *words], log, verb="finetune", die_in_step=9).wait() == [9], log.read_text()
    parts = plan_of(talkers, model, run)
    choices = read_space(space, fixed_part(parts))
    found = search(parts, choices, silent)
    said = "".join(capfd.readouterr()).replace("\n", "")
    assert f"resumed after update 8 from {run / 'trials' / '0'}" in said
    assert [(row.number, row.state, row.folder.name) for row in found.rows] == [
        (0, "stopped", "0"),
        (1, "done", "0"),
        (2, "done", "2"),
        (3, "done", "3"),
    ]
    whole = search(plan_of(talkers, model, tmp_path / "whole"), choices, silent)
    assert scores(found) == scores(whole) and len(whole.rows) == 3
    with pytest.raises(ConfigError, match=r"optim.max_updates is 12 there and 5 now"):
        Study(plan_of(talkers, model, tmp_path / "parts", "optim.max_updates=5", "optim.warmup_updates=1"), choices)


def test_a_signal_saves_the_trial_and_two_processes_share_what_is_left(
    talkers: Path, model: Path, space: Path, tmp_path: Path
) -> None:
    log, run = tmp_path / "log", tmp_path / "run"
    words = [*quick(talkers, model, run, *FROZEN, "optim.max_updates=200"), "sampler=grid", "pruner=none"]
    words = ["search", *words, f"space={space}", "trials=3"]
    first = Run(words, log, verb="finetune")
    first.wait_for(run / "trials" / "0" / "metrics.jsonl")
    first.processes[0].terminate()
    assert first.wait() == [75], first.said
    assert "the same command continues" in first.said  # from within a trial, or from between two
    both = [Run(words, tmp_path / f"log{number}", verb="finetune") for number in range(2)]
    assert [one.wait() for one in both] == [[0], [0]], both[0].said + both[1].said
    plan = plan_of(talkers, model, run, "optim.max_updates=200")
    rows = Study(plan, read_space(space, fixed_part(plan))).rows()
    assert sorted(row.state for row in rows) == ["done"] * 3 + ["stopped"]
    assert sorted(row.values["optim.lr"] for row in rows if row.state == "done") == RATES


def test_a_trial_that_ends_while_another_process_looks_is_not_taken_up(
    talkers: Path, model: Path, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(talkers, model, tmp_path, "trials=2")
    one, other = (Study(plan, read_space(space, fixed_part(plan))) for _ in range(2))
    trial = one.next()
    assert trial is not None

    def ends(lock: Path) -> bool:
        one.done(trial, 50.0)
        trial.leave()
        return False

    monkeypatch.setattr(studies, "is_held", ends)
    following = other.next()
    assert following is not None and following.values != trial.values
    assert [(row.number, row.state) for row in other.rows()] == [(0, "done"), (1, "running")]
    following.leave()


def test_a_trial_whose_training_has_ended_is_not_taken_up_before_it_is_told(
    talkers: Path, model: Path, space: Path, tmp_path: Path
) -> None:
    plan = plan_of(talkers, model, tmp_path, "trials=2")
    trial = Study(plan, read_space(space, fixed_part(plan))).next()
    assert trial is not None
    with only_writer(trial.folder / LOCK, trial.folder):  # as a training does
        pass
    look = "import sys; from emotion2vec.locks import is_held, Path; sys.exit(is_held(Path(sys.argv[1])))"
    words = [sys.executable, "-c", look, str(lock_of(trial.folder))]
    assert subprocess.run(words).returncode == 1  # another process finds it held
    trial.leave()
    assert subprocess.run(words).returncode == 0


def as_told(curves: dict[float, list[float]]) -> Callable[..., FitResult]:
    """A training whose validation scores are known by the learning rate; one without any fails."""

    def fit(
        config: Any, corpus: Any, split: Any, *, say: Any, rows: Any, watch: Callable[[int, float], None]
    ) -> FitResult:
        if not curves[config.optim.lr]:
            raise TrainingError("the loss is not finite")
        folder = Path(config.run.dir)
        for update, score in enumerate(curves[config.optim.lr], 1):
            watch(update, score)
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"update": update, "validation_loss": 1.0, "validation_score": score}) + "\n")
        return FitResult(3, None)

    return fit


def test_trials_below_the_median_are_stopped_and_failing_ones_are_told(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = {1.0: [50.0, 60.0, 70.0], 2.0: [52.0, 40.0, 41.0], 3.0: [30.0, 90.0, 90.0], 4.0: [55.0, 71.0, 65.0]}
    monkeypatch.setattr(running, "fit", as_told(curves | {5.0: []}))
    monkeypatch.setattr(Study, "_left_of_grid", lambda self, trials: {"optim.lr": 1.0 + len(trials)})
    more = ["trials=5", "pruner=median", "startup=1"]
    done = search(
        plan_of(talkers, model, tmp_path / "run", *more), {"optim.lr": Choices((1.0, 2.0, 3.0, 4.0, 5.0))}, silent
    )
    # The second one's best, 52, is below the 60 of the first at update 2; the third begins below 50 and 52.
    assert [(row.state, row.value) for row in done.rows] == [
        ("done", 70.0),
        ("pruned", 40.0),
        ("pruned", 30.0),
        ("done", 71.0),
        ("failed", None),
    ]
    assert done.best is not None and done.best.number == 3 and "not finite" in done.rows[4].why
    monkeypatch.setattr(running, "fit", as_told({1.0: []}))
    with pytest.raises(TrainingError, match=r"none of 1 trials came to its end.*not finite"):
        search(plan_of(talkers, model, tmp_path / "other", "trials=1"), {"optim.lr": Choices((1.0,))}, silent)


def test_a_trial_that_is_stopped_trains_no_further(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Trial, "stays", lambda self, update, score: not self._asked.report(score, update) and update < 8
    )
    with pytest.raises(TrainingError, match="none of 1 trials"):
        search(plan_of(talkers, model, tmp_path / "run", "trials=1"), {"optim.lr": Choices((1e-2,))}, silent)
    trial = tmp_path / "run" / "trials" / "0"
    updates = [json.loads(line)["update"] for line in (trial / "metrics.jsonl").read_text().splitlines()]
    assert updates[-1] == 7 and not (trial / "model.json").exists() and not (trial / "checkpoints").exists()


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random"])
def test_samplers_keep_to_the_space_and_repeat_themselves(
    talkers: Path, model: Path, tmp_path: Path, sampler: str
) -> None:
    space: Space = {
        "optim.lr": Range(1e-4, 1e-1, log=True),
        "optim.warmup_updates": Range(1, 6),
        "loss.smoothing": Range(0.0, 0.25, step=0.1),
        "head.kind": Choices(("mean", "two")),
    }

    def asked(name: str) -> list[dict[str, Any]]:
        study, found = Study(plan_of(talkers, model, tmp_path / name, f"sampler={sampler}", "trials=4"), space), []
        while trial := study.next():
            found.append(trial.values)
            study.done(trial, trial.values["loss.smoothing"])
            trial.leave()
        return found

    found = asked("one")
    assert found == asked("two") and len(found) == 4 and len({str(values) for values in found}) == 4
    for values in found:
        assert 1e-4 <= values["optim.lr"] <= 1e-1 and values["head.kind"] in ("mean", "two")
        assert type(values["optim.warmup_updates"]) is int and values["loss.smoothing"] in (0.0, 0.1, 0.2)


BAD = {
    "optim.lr: {low: 0.1, high: 0.01}": "optim.lr.low is 0.1 and high 0.01, expected low below high",
    "optim.learning_rate: {low: 1, high: 2}": "unknown key optim.learning_rate",
    "optim: {encoder_rl: {low: 1, high: 2}}": "unknown key optim.encoder_rl; did you mean optim.encoder_lr?",
    "optim.lr: {low: some, high: 1}": "optim.lr.low is 'some', expected a number",
    "optim.lr: {low: .nan, high: 1}": "optim.lr.low is nan, expected a number",
    "optim.max_updates: {low: 1.5, high: 3}": "optim.max_updates.low is 1.5, expected a whole number",
    "optim.lr: {low: 0, high: 1, log: true}": "optim.lr.low is 0, expected more than 0 where log is on",
    "optim.lr: {low: 1, high: 2, log: true, step: 1}": "optim.lr has log and a step",
    "optim.lr: {low: 1, high: 2, step: 3}": "optim.lr.step is 3, expected more than 0 and at most 1",
    "optim.lr: {low: 1}": "optim.lr has no high",
    "optim.lr: {lo: 1, high: 2}": "unknown field of optim.lr lo; did you mean low?",
    "optim.lr: {choices: [1], low: 1}": "optim.lr has choices and low",
    "optim.lr: {choices: []}": r"optim.lr.choices is \[\], expected a list of values",
    "optim.lr: {choices: [1, 1]}": r"optim.lr.choices is \[1, 1\], expected each value once",
    "optim.lr: {choices: [[1]]}": r"optim.lr.choices has \[1\]",
    "optim.lr: 3": "optim.lr is 3, expected {low",
    "optim.lr: {}": "optim.lr is {}, expected {low",
    "optim: {}": "optim is {}, expected keys of this section",
    "head.kind: {low: 1, high: 2}": "head.kind is no number",
    "head.kind: {choices: [maen]}": "head.kind is 'maen', expected one of mean",
    "finetune.strategy: {choices: [full, some]}": "finetune.strategy is 'some'",
    "loss.smoothing: {low: 0.5, high: 1.5}": "loss.smoothing is 1.5, expected >= 0 and < 1",
    "optim.lr: {choices: [fast]}": r"optim.lr is 'fast' \(str\), expected float",
    "run.seed: {choices: [0, 1]}": "run.seed decides by what trials are judged",
    "data.table: {choices: [a, b]}": "data.table decides by what trials are judged",
    "optim.lr: {low: 1e-4, high: 1e-3}": "optim.lr has no step, expected one, or choices, for a grid",
    "{}": "it is empty",
    "[1, 2]": "expected a mapping",
}


def test_all_faults_of_a_space_are_named_at_once(tmp_path: Path) -> None:
    base = quick_config(tmp_path / "table", tmp_path / "model", tmp_path / "run")
    for text, message in BAD.items():
        (tmp_path / "space.yaml").write_text(text + "\n")
        with pytest.raises(ConfigError, match=message):
            read_space(tmp_path / "space.yaml", base, finite=True)
    several = [
        "optim.lr: {low: 2, high: 1}",
        "optim.learn: {low: 1, high: 2}",
        "run.seed: {choices: [1]}",
        "head.kind: 3",
    ]
    (tmp_path / "space.yaml").write_text("\n".join(several))
    with pytest.raises(ConfigError, match=r"(?s)4 faults.*optim.lr.low.*optim.learn.*run.seed.*head.kind"):
        read_space(tmp_path / "space.yaml", base)
    with pytest.raises(ConfigError, match=r"(?s)unknown key trails; did you mean trials.*sampler.*evaluate.folds"):
        load_plan(None, [*quick(tmp_path, tmp_path, tmp_path), "trails=3", "sampler=best", "evaluate.folds=speaker"])


def test_the_shipped_space_fits_the_shipped_configuration(tmp_path: Path) -> None:
    base = load_config(CLASSIFY, ["data.table=t.csv", f"run.dir={tmp_path}"])
    assert "optim.encoder_lr" in read_space(CONFIGS / "search" / "default.yaml", base)
