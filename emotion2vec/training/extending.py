"""Going on with a run on another schedule, with its optimizer and whatever else it has learnt."""

from __future__ import annotations

from collections.abc import Sequence

from emotion2vec.errors import ConfigError
from emotion2vec.settings import dotted
from emotion2vec.training.config import TrainingConfig
from emotion2vec.training.schedules import learning_rate

EXTENDED = tuple(
    f"optim.{name}"
    for name in ("max_updates", "warmup_updates", "lr", "encoder_lr", "layer_decay", "cnn_lr_scale", "weight_decay")
)
"""Settings that may change when a run is extended."""


def extension(before: TrainingConfig, now: TrainingConfig, update: int, changed: Sequence[str]) -> str:
    """What it means to go on with a run on another schedule, as a sentence.

    Args:
        before: as the run was.
        now: as it is to go on.
        update: that it has reached.
        changed: settings that differ, of `EXTENDED`.

    Raises:
        ConfigError: nothing is left to do.
    """
    last = now.optim.max_updates
    if last <= update:
        raise ConfigError(
            f"run.extend is on, optim.max_updates is {last} and the run in {now.run.dir} has reached update {update}, "
            "expected more"
        )
    was, will = (dotted(config) for config in (before, now))
    rates = [learning_rate(number, config.optim) for number, config in ((update, before), (update + 1, now))]
    what = ", ".join(f"{key} {will[key]:g} in place of {was[key]:g}" for key in changed)
    return (
        f"going on from update {update}, of a run of {before.optim.max_updates}, with {what}: its learning rate had "
        f"come to {rates[0]:.3g} and goes on at {rates[1]:.3g}; the result is not that of one run"
    )
