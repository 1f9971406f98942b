"""What of an encoder learns, and at which rate."""

from __future__ import annotations

from collections.abc import Sequence

from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import StrategyConfig, TuneOptim
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


def freeze(parts: Sequence[Part], frozen: int) -> None:
    """Let the parts from `frozen` on learn, and those below not."""
    for number, part in enumerate(parts):
        part.requires_grad_(number >= frozen)


def parameter_groups(encoder: SpeechEncoder, optim: TuneOptim) -> list[ParameterGroup]:
    """Parameters that learn: the head's at `optim.lr`, each part's of the encoder at its own share of it."""
    assert encoder.head is not None
    parts = encoder.parts()
    groups = [ParameterGroup([*encoder.head.parameters()])]
    for number, part in enumerate(parts):
        learnt = [parameter for parameter in part.parameters() if parameter.requires_grad]
        rate = optim.encoder_lr * optim.layer_decay ** (len(parts) - 1 - number)
        groups += [ParameterGroup(learnt, rate / optim.lr)] if learnt else []
    return groups
