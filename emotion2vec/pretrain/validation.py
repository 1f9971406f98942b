"""Loss on held-out speech: the same crops, masks and noise every time, so that only the network changes it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import nn

from emotion2vec.audio.frames import frame_count
from emotion2vec.data.batches import MicroBatch, batches
from emotion2vec.data.corpus import open_corpus
from emotion2vec.devices import to_device
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.masking import batch_masks
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.metrics import UpdateSize, UpdateSums, to_host
from emotion2vec.training.ranks import Ranks

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class Validation:
    """Held-out speech, decoded once and kept in memory, shared out over the processes."""

    def __init__(self, config: PretrainConfig, ranks: Ranks, say: Callable[[str], None]):
        self.config = config
        self.ranks = ranks
        self.batches = self._decode(say)
        self.size = UpdateSize(*ranks.sum(self._sizes()))

    def _decode(self, say: Callable[[str], None]) -> list[MicroBatch]:
        data, limit = self.config.data, self.config.validation.seconds / self.ranks.size
        corpus = open_corpus(
            self.config.validation.data,
            min_samples=data.min_samples,
            max_bad_share=data.max_bad_share,
            workers=data.workers,
        )
        stream = batches(
            corpus.sources,
            max_seconds=data.batch_seconds,
            max_samples=data.max_samples,
            buckets=data.buckets,
            seed=self.config.run.seed,
            accumulate=1,
            min_samples=data.min_samples,
            length_step=data.length_step,
            patience=data.patience,
            rank=self.ranks.rank,
            world_size=self.ranks.size,
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

    def _sizes(self) -> list[float]:
        views, lengths = self.config.mask.views, [self._frames(batch) for batch in self.batches]
        masks = [self._mask(batch) for batch in self.batches]
        return [
            float(sum(int(mask.sum()) for mask in masks)),
            float(sum(views * len(batch.ids) for batch in self.batches)),
            float(sum(views * len(batch.ids) * n for batch, n in zip(self.batches, lengths, strict=True))),
            sum(batch.seconds for batch in self.batches),
            sum(batch.offered for batch in self.batches),
        ]

    def _frames(self, batch: MicroBatch) -> int:
        return frame_count(batch.waveforms.shape[1], self.config.model.kernels, self.config.model.strides)

    def _mask(self, batch: MicroBatch) -> torch.Tensor:
        """The batch's masks (B, M, T): those of update 0, which training never draws."""
        return batch_masks(batch.ids, self._frames(batch), self.config.mask, seed=self.config.run.seed, update=0)

    def losses(self, module: nn.Module, fabric: Fabric) -> dict[str, float]:
        """Mean losses and explained share, without dropout and layerdrop, under names that start with `validation_`."""
        outputs = []
        module.eval()
        with torch.no_grad():
            for number, batch in enumerate(self.batches):
                torch.manual_seed(keyed_seed(self.config.run.seed, "validation", number, self.ranks.rank))
                outputs.append(
                    module(to_device(batch.waveforms, fabric.device), to_device(self._mask(batch), fabric.device))
                )
        module.train()
        sums = UpdateSums.of(outputs).reduced(self.ranks.add_up)
        metrics = to_host(sums.metrics(self.size, self.config.loss))
        shown = ("loss", "frame_loss", "utterance_loss", "explained_share")
        return {f"validation_{name}": metrics[name] for name in shown if name in metrics}
