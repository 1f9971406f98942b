"""Pretraining as an objective: the student predicts, at masked frames, what its own moving average says of the whole.

B: utterances. M: views. T: frames. U: utterances of an update. D: model width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import Source
from emotion2vec.pretrain.category import CategoryLoss
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.ema import ema_decay
from emotion2vec.pretrain.masking import batch_masks, masked_frames
from emotion2vec.pretrain.metrics import UpdateSums, UtteranceCovariance, channel_std, effective_rank, refuse_collapse
from emotion2vec.pretrain.network import Pretrainer, PretrainOutput
from emotion2vec.pretrain.work import utterance_flops
from emotion2vec.training.metrics import Moments, reduced, to_host
from emotion2vec.training.objective import Objective, ParameterGroup, cnn_apart, skipped_blocks
from emotion2vec.training.strategy import forward_method

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from emotion2vec.training.ranks import Ranks


class Pretraining(Objective[PretrainOutput, UpdateSums]):
    """The data2vec 2.0 objective with emotion2vec's utterance loss, and a contrast of labelled utterances if wanted.

    Args:
        config: the run's configuration.
        pretrainer: student, teacher and decoder.
        device: where they will train.
    """

    name = "pretrain"
    shown: ClassVar[Mapping[str, str]] = {
        "loss": "loss {:.3f}",
        "frame_loss": "frame {:.3f}",
        "utterance_loss": "utterance {:.3f}",
        "category_loss": "category {:.3f}",
        "explained_share": "explained {:.2f}",
    }
    validated = ("loss", "frame_loss", "utterance_loss", "explained_share")
    counted = ("masked", "views", "frames")

    def __init__(self, config: PretrainConfig, pretrainer: Pretrainer, device: torch.device):
        super().__init__(pretrainer, pretrainer.student)
        self.config = config
        self.pretrainer = pretrainer
        self.covariance = UtteranceCovariance(config.model.width, device)
        self.category = CategoryLoss(config.loss) if config.loss.category else None

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Masked frames in all views, views (B·M), and frames in all views, masked or not."""
        views, frames = len(batch.ids) * self.config.mask.views, self._frames(batch)
        masked = masked_frames(frames, self.config.mask.prob)
        return {"masked": views * masked, "views": views, "frames": views * frames}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, masks (B, M, T), blocks that layerdrop leaves out, none in validation, and labels to learn."""
        seed = self.config.run.seed
        mask = batch_masks(batch.keys, self._frames(batch), self.config.mask, seed=seed, update=update)
        heard = batch.waveforms, mask, skipped_blocks(self.config.model, seed, update, number)
        if self.category is None:
            return heard
        if not update:  # validation is of what is learnt without labels
            self.category.value = None
            return heard
        return *heard, self.category.labels(batch), number

    def prepare(self, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]) -> None:
        """Take in labels, where they are learnt."""
        if self.category is not None:
            self.category.take_in(sources, say)

    def learns_label(self, source: int, name: str) -> bool:
        """Whether it has one, where labels are learnt."""
        return self.category is not None and self.category.knows(source, name)

    def look_ahead(self, outputs: Callable[[], Sequence[PretrainOutput]], batches: int, ranks: Ranks) -> None:
        """Gather what labelled utterances are compared by."""
        if self.category is not None:
            self.category.look_ahead(outputs, batches, ranks)

    def loss(self, output: PretrainOutput, counts: Mapping[str, float]) -> Tensor:
        """The frame loss as a mean over masked frames, and α times the utterance loss as one over views."""
        loss = output.frame_loss / counts["masked"]
        if self.config.loss.utterance != "none":
            loss = loss + self.config.loss.alpha * output.utterance_loss / counts["views"]
        if self.category is not None:
            loss = loss + self.category.weight * self.category.of(output)
        return loss

    def sums(self, outputs: Sequence[PretrainOutput]) -> UpdateSums:
        """Losses, and moments of targets, predictions and pooled outputs."""
        return UpdateSums.of(outputs)

    def metrics(self, sums: UpdateSums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """Losses, deviations, and the share of the targets that is explained."""
        found = sums.metrics(counts, self.config.loss) | self._utterance_target_std()
        if self.category is not None and (contrast := self.category.value) is not None:
            found |= {"category_loss": contrast, "loss": found["loss"] + self.category.weight * contrast}
        return found

    def flops(self, batch: MicroBatch) -> float:
        """Operations of student, teacher and decoder."""
        samples = batch.waveforms.shape[1]
        return len(batch.ids) * sum(utterance_flops(self.config, samples, self._frames(batch)).values())

    def parameter_groups(self) -> list[ParameterGroup]:
        """All that has gradients, and the CNN by itself."""
        return cnn_apart(self, self.config.optim.cnn_lr_scale)

    def begin(self, batches: Sequence[MicroBatch], fabric: Fabric, ranks: Ranks) -> None:
        """Measure the utterance target's statistics before the first update, on its utterances, whoever has them."""
        if self.config.loss.utterance == "none":
            return
        forward_method(self.network, "pooled")
        with fabric.autocast():
            pooled = torch.cat([self.pretrainer.pooled(b.waveforms.to(fabric.device)) for b in batches])  # (U, D)
        self._update_utterance_target(reduced(Moments.of(pooled), ranks.add_up))

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """Stop when targets or predictions have become constant."""
        refuse_collapse(update, metrics, self.config.guard)

    def after_step(self, update: int, sums: UpdateSums) -> None:
        """Move the teacher, the utterance target's statistics, and the covariance that is watched."""
        self.pretrainer.teacher.update(self.pretrainer.student, ema_decay(update, self.config.ema))
        if update > 1:  # those of the first were taken in before it
            self._update_utterance_target(sums.utterances)
        self.covariance.update(sums)

    def scheduled(self, update: int) -> dict[str, float]:
        """The teacher's decay."""
        return {"ema_decay": ema_decay(update, self.config.ema)}

    def observe(self, output: PretrainOutput) -> dict[str, float]:
        """Effective ranks of CNN output and utterance embeddings, and how far both deviate."""
        return to_host(self._utterance_target_std()) | {
            "cnn_rank": effective_rank(output.cnn),
            "cnn_std": channel_std(output.cnn),
            "utterance_rank": self.covariance.rank(),
        }

    def state(self) -> dict[str, Tensor]:
        """The covariance that is watched."""
        return self.covariance.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a saved covariance."""
        self.covariance.load(state)

    def _frames(self, batch: MicroBatch) -> int:
        return self.config.model.grid.count(batch.waveforms.shape[1])

    def _update_utterance_target(self, pooled: Moments) -> None:
        self.pretrainer.utterance_target.update(pooled.total / pooled.count, pooled.square / pooled.count, pooled.count)

    def _utterance_target_std(self) -> dict[str, Tensor | float]:
        if self.config.loss.utterance == "none":
            return {}
        return {"utterance_target_std": self.pretrainer.utterance_target.std().mean()}
