"""What of an encoder learns, and at which rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotion2vec.errors import ConfigError
from emotion2vec.finetune.adapters import Adapters
from emotion2vec.finetune.config import TuneOptim
from emotion2vec.finetune.goals import Goal, ValueGoal
from emotion2vec.finetune.learnt import StrategyConfig
from emotion2vec.model.heads import Head
from emotion2vec.model.speech import Part, SpeechEncoder
from emotion2vec.training.objective import ParameterGroup


def frozen_parts(encoder: SpeechEncoder, config: StrategyConfig) -> int:
    """How many of `encoder.parts()`, from the bottom, stay as they are.

    Raises:
        ConfigError: a strategy that needs more blocks than there are.
    """
    parts = encoder.parts()
    blocks, below = len(encoder.blocks), len(parts) - len(encoder.blocks)
    frozen = {"none": 0, "cnn": 1, "stem": below}.get(config.freeze)
    if frozen is None:
        frozen = below + _count(config.freeze, "finetune.freeze", blocks)
    if config.strategy == "frozen":
        return len(parts)
    if config.strategy.startswith("top:"):
        frozen = max(frozen, len(parts) - _count(config.strategy, "finetune.strategy", blocks))
    if frozen == len(parts):
        raise ConfigError(
            f"finetune.freeze is {config.freeze} and the model has {blocks} blocks, which leaves none to learn; "
            "expected less, or finetune.strategy=frozen"
        )
    return frozen


def _count(text: str, name: str, blocks: int) -> int:
    count = int(text.partition(":")[2])
    if count > blocks:
        raise ConfigError(f"{name} is {text}, and the model has {blocks} blocks, expected at most so many")
    return count


@dataclass(frozen=True)
class Thawing:
    """Which parts of an encoder learn when.

    Attributes:
        lowest: parts that never learn, from the bottom.
        parts: all parts.
        every: updates after which one part more learns, from the top; 0 for all at once.
        first: updates at first in which none learns.
    """

    lowest: int
    parts: int
    every: int = 0
    first: int = 0

    @classmethod
    def of(cls, encoder: SpeechEncoder, config: StrategyConfig) -> Thawing:
        """As a configuration says; raises as `frozen_parts`."""
        name, _, number = config.strategy.partition(":")
        every = int(number) if name == "gradual" else 0
        return cls(frozen_parts(encoder, config), len(encoder.parts()), every, config.head_first)

    @property
    def changes(self) -> bool:
        """Whether other parts learn later than at first."""
        return self.lowest < self.parts and (self.every > 0 or self.first > 0)

    def frozen(self, update: int) -> int:
        """Parts, from the bottom, that do not learn in an update."""
        if update <= self.first:
            return self.parts
        if not self.every:
            return self.lowest
        return max(self.lowest, self.parts - (update - self.first - 1) // self.every)


def freeze(parts: Sequence[Part], frozen: int, adapters: Adapters | None = None) -> None:
    """Let the parts from `frozen` on learn, or all adapters in place of them where there are any, and the rest not."""
    for number, part in enumerate(parts):
        part.requires_grad_(number >= frozen and adapters is None)
    for parameter in () if adapters is None else adapters.parameters():
        parameter.requires_grad_(frozen < len(parts))


def parameter_groups(
    encoder: SpeechEncoder,
    heads: Sequence[tuple[Head, Goal]],
    optim: TuneOptim,
    frozen: int,
    adapters: Adapters | None = None,
) -> list[ParameterGroup]:
    """Parameters that ever learn: the heads' at `optim.lr`, each part's of the encoder at its own share of it.

    The last layer of a head of values moves as fast as these are wide.

    Args:
        encoder: whose parts they are.
        heads: with what each learns.
        optim: the rates.
        frozen: parts that never learn, from the bottom.
        adapters: what learns of the other parts, in place of all.
    """
    parts = encoder.parts()
    groups: list[ParameterGroup] = []
    for head, goal in heads:
        last = {id(p) for p in getattr(head, "output", head).parameters(recurse=False)}
        width = float(np.exp(np.log(goal.scaling.scale).mean())) if isinstance(goal, ValueGoal) else 1.0
        groups.append(ParameterGroup([p for p in head.parameters() if id(p) not in last]))
        groups.append(ParameterGroup([p for p in head.parameters() if id(p) in last], width))
    among = None if adapters is None else {id(p) for p in adapters.parameters()}
    for number, part in enumerate(parts[frozen:], start=frozen):
        rate = optim.encoder_lr * optim.layer_decay ** (len(parts) - 1 - number)
        learning = [p for p in part.parameters() if among is None or id(p) in among]
        groups.append(ParameterGroup(learning, rate / optim.lr))
    return [group for group in groups if group.parameters]
