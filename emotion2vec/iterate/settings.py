"""The settings of iterations in their folder: those of a later command must be the same where rounds depend on them."""

from __future__ import annotations

from pathlib import Path

from emotion2vec.errors import ConfigError
from emotion2vec.files import write_text
from emotion2vec.iterate.config import IteratePlan
from emotion2vec.settings import build, dotted, read_yaml, to_yaml

SETTINGS = "iterate.yaml"
"""In the folder of all rounds."""

FREE_SECTIONS = ("log", "checkpoint", "guard", "probe")
FREE = (
    "run.dir",
    "run.devices",
    "run.nodes",
    "run.strategy",
    "run.compile",
    "run.checkpoint_activations",
    "data.workers",
    "data.cache",
    "data.patience",
    "data.licence",
    "data.max_bad_share",
    "rounds.count",
    "filters.quantile",
    "filters.agreeing",
    "filters.cap",
    "filters.balance",
    "filters.lacking",
    *(f"pool.{name}" for name in ("sources", "root", "columns", "max_bad_share", "shard", "engine", "ray_address")),
    *(f"pool.{name}" for name in ("actors", "batch_seconds", "workers", "compare")),
)
"""What may change between commands: where and how fast, how long, and what later rounds choose and choose among."""


def keep_settings(plan: IteratePlan) -> None:
    """Write the settings of iterations that can begin.

    Raises:
        OSError: the disk does not take them.
    """
    write_text(Path(plan.run.dir) / SETTINGS, to_yaml(plan))


def same_iterations(plan: IteratePlan) -> None:
    """Check that settings are those of the folder, where some are there.

    Raises:
        ConfigError: others are there, or cannot be read.
    """
    path = Path(plan.run.dir) / SETTINGS
    if path.is_file():
        faults: list[str] = []
        before = dotted(build(IteratePlan, read_yaml(path), faults))
        now = dotted(plan)
        changed = [
            f"{key} was {before[key]!r}, now {value!r}"
            for key, value in now.items()
            if before[key] != value and key not in FREE and key.partition(".")[0] not in FREE_SECTIONS
        ]
        if changed or faults:
            raise ConfigError(
                f"run.dir {plan.run.dir} has iterations with other settings: {'; '.join([*faults, *changed])}; "
                "expected the same, or another run.dir"
            )
