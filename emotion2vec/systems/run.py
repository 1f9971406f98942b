"""Run systems one after another on the same folds; what is done is kept, and a failure does not stop the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.errors import ConfigError, Emotion2vecError
from emotion2vec.files import check_writable, write_json
from emotion2vec.finetune.config import load_config
from emotion2vec.finetune.run import finetune
from emotion2vec.probe import probe
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.settings import read_override
from emotion2vec.systems.plan import SystemPlan, SystemsPlan


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a system gave.

    Attributes:
        system: what was run.
        model: its backbone.
        scores: over all folds.
        complete: whether every clip could be used.
        hours: of computing, over all attempts that ended by themselves or by a signal.
        parameters: that were trained; None where that is not told.
    """

    system: SystemPlan
    model: str
    scores: HeadScores
    complete: bool
    hours: float
    parameters: int | None


@dataclass
class Comparison:
    """What became of a plan: systems in its order, and those that failed with the reasons; `signal` ended it early."""

    done: list[Done] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    signal: int | None = None


Find = Callable[[str], Path]
"""Finds a configuration of `finetune` by its name."""


def run_systems(
    plan: SystemsPlan, find: Find, report: Callable[[Comparison], object], say: Callable[[str], None] = print
) -> Comparison:
    """Run what is not done yet; the same call goes on after an interrupt.

    Args:
        plan: a checked plan.
        find: finds presets.
        report: called after each system.
        say: shows a line of text to the user.
    """
    check_writable(Path(plan.output) / "results.json")
    found = Comparison()
    for number, system in enumerate(plan.systems, 1):
        say(f"system {system.title} ({number} of {len(plan.systems)})")
        model = system.model or plan.model
        kept = Path(plan.output) / "results" / f"{system.name}.json"
        try:
            document = _kept(kept, plan, system) or _run(plan, system, model, find, kept, say)
        except Emotion2vecError as error:
            found.failures[system.title] = str(error)
            say(f"failed: {system.title}: {error}")
        else:
            if isinstance(document, int):
                found.signal = document
                break
            _take_in(found, system, model, document)
        report(found)
    return found


def _take_in(found: Comparison, system: SystemPlan, model: str, document: dict[str, Any]) -> None:
    """Add a result, unless its folds are others than those of the first."""
    result = ProbeResult.from_dict(document["result"])
    (scores,) = result.results
    done = Done(
        system=system,
        model=model,
        scores=scores,
        complete=not result.about.left_out,
        hours=document["hours"],
        parameters=document["parameters"],
    )
    if found.done and _folds(scores) != _folds(found.done[0].scores):
        found.failures[system.title] = (
            f"its folds test other clips than those of {found.done[0].system.title}, so that scores would not compare"
        )
    else:
        found.done.append(done)


def _folds(scores: HeadScores) -> list[tuple[Any, ...]]:
    """What tells folds apart."""
    return [(fold.name, fold.test_speakers, fold.clips) for fold in scores.folds]


def _request(plan: SystemsPlan, system: SystemPlan) -> dict[str, Any]:
    """What a result depends on, as JSON has it."""
    corpus = {name: getattr(plan, name) for name in ("data", "dataset", "root", "table", "folds", "model", "settings")}
    own = {name: value for name, value in asdict(system).items() if name != "published"}
    request: dict[str, Any] = json.loads(json.dumps({**corpus, "system": own}))
    return request


def _kept(path: Path, plan: SystemsPlan, system: SystemPlan) -> dict[str, Any] | None:
    """A result of exactly this request, or None."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if document.get("request") == _request(plan, system) and "result" in document else None


def _run(
    plan: SystemsPlan, system: SystemPlan, model: str, find: Find, kept: Path, say: Callable[[str], None]
) -> dict[str, Any] | int:
    """Run a system and keep its result with the hours; the number of the signal that interrupted it."""
    request, clock = _request(plan, system), kept.with_suffix(".hours")
    try:
        before = float(clock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = 0.0
    started = time.monotonic()
    try:
        found = _probed(plan, system, model) if system.verb == "probe" else _tuned(plan, system, model, find, say)
    finally:
        hours = before + (time.monotonic() - started) / 3600
        write_json(clock, hours)
    if isinstance(found, int):
        return found
    result, parameters = found
    document = {"request": request, "result": result.to_dict(), "hours": hours, "parameters": parameters}
    write_json(kept, document)
    return document


def _corpus(plan: SystemsPlan) -> dict[str, Any]:
    return {"dataset": plan.dataset, "root": plan.place} if plan.dataset else {"table": plan.table, "root": plan.place}


def _probed(plan: SystemsPlan, system: SystemPlan, model: str) -> tuple[ProbeResult, int | None]:
    """A head on frozen features."""
    faults: list[str] = []
    own: dict[str, Any] = {}
    for item in system.settings:
        own |= read_override(item, faults)
    if faults:
        raise ConfigError("; ".join(faults))
    asked = {"features": [model], "heads": [system.head], "folds": plan.folds, "cache": Path(plan.output) / "cache"}
    result = probe(**{**_corpus(plan), **asked, **own})
    sizes = [one.get("parameters") for fold in result.results[0].folds for one in fold.chosen]
    return result, max((size for size in sizes if size is not None), default=None)


def _tuned(
    plan: SystemsPlan, system: SystemPlan, model: str, find: Find, say: Callable[[str], None]
) -> tuple[ProbeResult, int | None] | int:
    """A fine-tuned model of each fold; the number of the signal that interrupted it."""
    run = Path(plan.output) / "runs" / system.name
    corpus = (
        [f"data.corpora=[{plan.dataset}={plan.place}]"]
        if plan.dataset
        else [f"data.table={plan.table}", f"data.root={plan.place}"]
    )
    own = [f"model={model}", f"evaluate.folds={plan.folds}", "evaluate.final=false", f"run.dir={run}"]
    config = load_config(find(system.config), [*corpus, *own, *plan.settings, *system.settings])
    done = finetune(config, say)
    if done.scores is None:
        return done.result.signal or 0
    return done.scores, trained_parameters(run)


def trained_parameters(run: Path) -> int | None:
    """The most parameters that an optimizer moved in a checkpoint of a run's folds; None where none is kept."""
    from safetensors import safe_open

    found = []
    for path in sorted((run / "folds").rglob("*.safetensors")):
        with safe_open(path, "numpy") as tensors:
            moved = [name for name in tensors.keys() if name.startswith("optimizer.exp_avg.")]  # noqa: SIM118
            sizes = [tensors.get_slice(name).get_shape() for name in moved]
        if sizes:
            found.append(sum(_product(size) for size in sizes))
    return max(found, default=None)


def _product(shape: list[int]) -> int:
    size = 1
    for part in shape:
        size *= part
    return size
