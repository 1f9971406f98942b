"""What a run hears, where that is not what `data.train` lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emotion2vec.data.batches import Order
from emotion2vec.data.corpus import TrainingCorpus
from emotion2vec.data.order import BatchOrder
from emotion2vec.training.objective import Objective
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.validation import HeldOut


@dataclass(frozen=True)
class Speech:
    """What a run trains on.

    Attributes:
        corpus: sources of audio, and what of them was left out.
        about: what an update holds, in words.
        order: plans micro-batches of them.
        pad: whether utterances of a micro-batch keep their lengths, see `Stream`.
        hold_out: makes what checkpoints are judged by, once the objective is there; None for `validation.data`.
        last: the update after which training ends; None for `optim.max_updates`.
    """

    corpus: TrainingCorpus
    about: str = ""
    order: Order = BatchOrder
    pad: bool = False
    hold_out: Callable[[Ranks, Objective[Any, Any]], HeldOut | None] | None = None
    last: int | None = None
