"""Loss on held-out speech: the same crops and randomness every time, so that only the network changes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from emotion2vec.data.batches import batches
from emotion2vec.data.config import DataConfig
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Stream
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.config import ListedConfig
from emotion2vec.training.metrics import reduced, to_host
from emotion2vec.training.objective import Objective, on_device, total_size
from emotion2vec.training.ranks import Ranks

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class HeldOut(Protocol):
    """Speech that is not trained on, by which checkpoints are judged."""

    def due(self, update: int) -> bool:
        """Whether an update is judged."""
        ...

    def losses(self, network: nn.Module, fabric: Fabric) -> dict[str, float]:
        """Numbers of the network as it is, by names that start with `validation_`.

        Where `validation_score` is among them, higher is better, it chooses checkpoints; else the lowest
        `validation_loss` does.
        """
        ...


class Validation:
    """Held-out speech, decoded once and kept in memory, shared out over the processes."""

    def __init__(self, config: ListedConfig, ranks: Ranks, objective: Objective, say: Callable[[str], None]):
        self.config = config
        self.ranks = ranks
        self.objective = objective
        self.batches = self._decode(say)
        self.size, _ = total_size(objective, self.batches, ranks)

    def _decode(self, say: Callable[[str], None]) -> list[MicroBatch]:
        data, limit = self.config.data, self.config.validation.seconds / self.ranks.size
        corpus = open_corpus(
            self.config.validation.data,
            min_samples=data.min_samples,
            max_bad_share=data.max_bad_share,
            workers=data.workers,
            columns=data.columns,
        )
        stream = batches(
            corpus.sources,
            replace(data, workers=0, cache=False, window=DataConfig().window),
            Stream(
                seed=self.config.run.seed,
                rank=self.ranks.rank,
                world_size=self.ranks.size,
                normalize=self.objective.model.config.normalizes,
                crop_step=self.objective.crop_step,
                clean=self.objective.clean,
            ),
        )
        kept: list[MicroBatch] = []
        for batch in takewhile(lambda batch: batch.position.epoch == 0, stream):
            for fault in batch.skipped:
                say(f"left out of validation: {fault}")
            if sum(other.seconds for other in kept) + batch.seconds > limit and kept:
                break
            kept.append(batch)
        stream.close()
        # With sharded weights every process must go forward equally often.
        return kept[: min(self.ranks.gather(len(kept)))]

    def due(self, update: int) -> bool:
        """See `HeldOut`."""
        return update % self.config.validation.every == 0

    def losses(self, network: nn.Module, fabric: Fabric) -> dict[str, float]:
        """What the objective says of held-out speech, without dropout and layerdrop, as `validation_` and its name.

        Args:
            network: the objective's, wrapped.
            fabric: devices.
        """
        outputs = []
        network.eval()
        with torch.no_grad():
            for number, batch in enumerate(self.batches):
                inputs = self.objective.inputs(batch, 0, number)
                torch.manual_seed(keyed_seed(self.config.run.seed, "validation", number, self.ranks.rank))
                outputs.append(network(*on_device(inputs, fabric.device)))
        network.train()
        sums = reduced(self.objective.sums(outputs), self.ranks.add_up)
        metrics = to_host(self.objective.metrics(sums, self.size.counts))
        return {f"validation_{name}": metrics[name] for name in self.objective.validated if name in metrics}
