"""How settings are searched for: everything that decides a fine-tuning run, and what is tried beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from emotion2vec.finetune.config import FinetuneConfig, check_config
from emotion2vec.settings import option
from emotion2vec.training.config import load

SAMPLERS = ("tpe", "cmaes", "random", "grid")
PRUNERS = ("median", "none")


@dataclass(kw_only=True)
class SearchPlan(FinetuneConfig):
    """A fine-tuning run of which some settings are searched for."""

    space: str = option("default", "YAML file of what is tried, or the name of one that ships: default")
    trials: int = option(50, "trials of the whole search, of all processes that share it", ge=1)
    sampler: str = option("tpe", "how settings are chosen", choices=SAMPLERS)
    pruner: str = option(
        "median", "median: a trial stops where its best is below the median of the others so far", choices=PRUNERS
    )
    startup: int = option(5, "trials that end before any is stopped", ge=0)


def load_plan(path: str | Path | None = None, overrides: Sequence[str] = ()) -> SearchPlan:
    """Read a plan as `emotion2vec.finetune.config.load_config` does a configuration, with the same errors."""
    return load(SearchPlan, path, overrides, check_plan)


def check_plan(plan: SearchPlan) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the search can start."""
    faults = check_config(plan)
    if plan.evaluate.folds:
        faults.append(
            f"evaluate.folds is {plan.evaluate.folds}, expected none in a search; the best configuration takes it"
        )
    if plan.gmp.enabled:
        faults.append("gmp.enabled is on, expected it off in a search; the best configuration takes it")
    if plan.run.devices * plan.run.nodes > 1:
        faults.append(
            "run.devices is more than 1, expected one device for a trial; several processes may share a search"
        )
    return faults


def fixed_part(plan: SearchPlan) -> FinetuneConfig:
    """What a plan says of every trial."""
    return FinetuneConfig(**{item.name: getattr(plan, item.name) for item in fields(FinetuneConfig)})
