"""Validation scores of a run, told to whoever asks for them while it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from emotion2vec.training.objective import Objective
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.speech import Speech
from emotion2vec.training.validation import HeldOut

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Watch = Callable[[int, float], None]
"""Is called with the update and the score of a validation; what it raises ends the training."""


def watched(speech: Speech, watch: Watch) -> Speech:
    """The same speech, whose validations are told."""
    make = speech.hold_out
    assert make is not None

    def hold_out(ranks: Ranks, objective: Objective) -> HeldOut | None:
        held = make(ranks, objective)
        return None if held is None else _Watched(held, watch)

    return replace(speech, hold_out=hold_out)


class _Watched:
    """Held-out speech whose scores are told."""

    def __init__(self, held: HeldOut, watch: Watch):
        self.held = held
        self.watch = watch
        self.update = 0

    def due(self, update: int) -> bool:
        """See `HeldOut`."""
        self.update = update
        return self.held.due(update)

    def losses(self, network: nn.Module, fabric: Fabric) -> dict[str, float]:
        """See `HeldOut`."""
        found = self.held.losses(network, fabric)
        self.watch(self.update, found["validation_score"])
        return found
