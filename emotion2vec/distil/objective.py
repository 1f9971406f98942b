"""Distillation as an objective: the student predicts the teacher's layers, frame by frame and clip by clip.

B: clips. T: frames that student and teacher have in common. D: teacher's width. L: layers. E: terms of the loss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from emotion2vec.checkpoint.native import description
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import Source
from emotion2vec.devices import to_device
from emotion2vec.distil.alignment import Alignment, align
from emotion2vec.distil.config import DistilConfig
from emotion2vec.distil.features import compute_features
from emotion2vec.distil.masking import levels, loud_mask, masked_frames
from emotion2vec.distil.network import Distiller, DistilOutput, stacked
from emotion2vec.distil.stored import StoredFeatures
from emotion2vec.distil.teacher import Taught, Teacher
from emotion2vec.distil.work import student_flops, teacher_flops
from emotion2vec.errors import CheckpointError
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.metrics import Moments, exact, reduced
from emotion2vec.training.objective import Objective, ParameterGroup, cnn_apart, skipped_blocks

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from emotion2vec.training.ranks import Ranks

LOG = logging.getLogger(__name__)


class DistilSums(DistilOutput):
    """Sums over an update's batches, and over all processes; float64."""

    @classmethod
    def of(cls, outputs: Sequence[DistilOutput]) -> DistilSums:
        """Add up what the batches of this process contributed."""
        values: dict[str, Any] = {
            item.name: torch.stack([exact(getattr(output, item.name)) for output in outputs]).sum(dim=0)
            for item in fields(cls)
            if item.name not in ("layers", "targets")
        }
        layers, targets = (reduce(add, [getattr(o, name) for o in outputs]) for name in ("layers", "targets"))
        return cls(**values, layers=layers, targets=targets)


class Distillation(Objective[DistilOutput, DistilSums]):
    """Learns the layers of a teacher (and what its head says), which hears the clean clip.

    Args:
        config: the run's configuration.
        distiller: student and prediction heads.
        teacher: frozen, on the device.
    """

    name = "distil"
    shown: ClassVar[Mapping[str, str]] = {"loss": "loss {:.3f}", "explained_share": "explained {:.2f}"}
    counted = ("all", "input", "middle", "clips")

    def __init__(self, config: DistilConfig, distiller: Distiller, teacher: Teacher):
        super().__init__(distiller, distiller.student)
        self.config = config
        self.distiller = distiller
        self.teacher = teacher
        self.clean = teacher.config.normalizes
        self.crop_step = teacher.config.grid.stride
        explained = tuple(f"explained_share_{term.name}" for term in distiller.terms)
        self.validated = ("loss", "frame_loss", "pooled_loss", "soft_loss", "explained_share", *explained)
        self.stored: StoredFeatures | None = None
        self._told: set[str] = set()

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Frames that student and teacher have in common, those masked at input and in the middle, and clips.

        Clips that the teacher says nothing finite of are among them: that is only known when it has heard them.
        """
        clips, frames = len(batch.ids), self._alignment(batch).count
        masked = clips * masked_frames(frames, self.config.mask.share)
        return {"all": clips * frames, "input": masked, "middle": masked, "clips": clips}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, the teacher's layers (L, B, T, D), of which clips, masks, and blocks to leave out."""
        taught, valid = self._taught(batch, stored=update > 0)
        skipped = skipped_blocks(self.config.model, self.config.run.seed, update, number)
        masks = self._masks(batch, update) if self.distiller.hidden else None
        return batch.waveforms, taught.layers, valid, taught.scores, masks, self._alignment(batch).student, skipped

    def loss(self, output: DistilOutput, counts: Mapping[str, float]) -> Tensor:
        """Means over frames and clips of the whole update, weighed and added up."""
        weights = self.config.loss
        loss = weights.soft * output.soft / counts["clips"]
        for place, term in enumerate(self.distiller.terms):
            frame = (output.frame[place] + weights.cosine * output.cosine[place]) / counts[term.frames]
            loss = loss + term.weight * (frame + weights.pooled * output.pooled[place] / counts["clips"])
        return loss

    def sums(self, outputs: Sequence[DistilOutput]) -> DistilSums:
        """Losses, and moments of the teacher's layers and of the targets."""
        return DistilSums.of(outputs)

    def metrics(self, sums: DistilSums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """Losses, and the share of each target that is explained: 1 − squared error / variance, over frames.

        Clips that the teacher said nothing finite of do not count here, and are `left_out`.
        """
        weights, frames, clips = self.config.loss, sums.frames.clamp(min=1), sums.clips.clamp(min=1)
        factors = torch.tensor([term.weight for term in self.distiller.terms], dtype=torch.float64).to(frames.device)
        parts: dict[str, Tensor | float] = {"frame_loss": (factors * sums.frame / frames).sum()}
        if weights.cosine:
            parts["cosine_loss"] = (factors * sums.cosine / frames).sum()
        if weights.pooled:
            parts["pooled_loss"] = (factors * sums.pooled).sum() / clips
        if weights.soft:
            parts["soft_loss"] = sums.soft / clips
        scale = {"frame": 1.0, "cosine": weights.cosine, "pooled": weights.pooled, "soft": weights.soft}
        loss = sum(scale[name.removesuffix("_loss")] * value for name, value in parts.items())
        variance = sums.targets.variance().mean(dim=1).clamp(min=1e-12)  # (E,)
        explained = 1 - sums.squared / frames / variance  # (E,)
        shares = {
            f"explained_share_{term.name}": one for term, one in zip(self.distiller.terms, explained, strict=True)
        }
        return {
            "loss": loss,
            **parts,
            "explained_share": explained.mean(),
            **shares,
            "left_out": counts["clips"] - sums.clips,
        }

    def flops(self, batch: MicroBatch) -> float:
        """Operations of the student, and of the teacher where it is asked."""
        samples = batch.waveforms.shape[1]
        flops = student_flops(self.config, self.teacher.config.width, samples)
        return len(batch.ids) * (flops + (teacher_flops(self.teacher, samples) if self.stored is None else 0.0))

    def parameter_groups(self) -> list[ParameterGroup]:
        """All that has gradients, and the CNN by itself."""
        return cnn_apart(self, self.config.optim.cnn_lr_scale)

    def description(self) -> dict[str, Any]:
        """What a checkpoint says of the student, with the labels of its head."""
        head = self.model.head
        return description(self.model.config, () if head is None else head.labels)

    def prepare(self, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]) -> None:
        """Compute the teacher's features once, where they are to be kept."""
        if self.config.target.features:
            folder = Path(self.config.target.features)
            compute_features(folder, self.teacher, sources, ranks, say)
            self.stored = StoredFeatures(folder)

    def begin(self, batches: Sequence[MicroBatch], fabric: Fabric, ranks: Ranks) -> None:
        """Measure the teacher's channels on the clips of the first update, whoever has them."""
        found = []
        for batch in batches:
            taught, valid = self._taught(batch, stored=True)
            found.append(stacked([Moments.of(layer[valid].flatten(0, 1)) for layer in taught.layers]))
        self.distiller.take_in(reduced(reduce(add, found), ranks.add_up))

    def after_step(self, update: int, sums: DistilSums) -> None:
        """Take in the teacher's channels of this update; those of the first were taken in before it."""
        if update > 1:
            self.distiller.take_in(sums.layers)

    def state(self) -> dict[str, Tensor]:
        """Which teacher it is, so that no other one goes on."""
        return {"teacher": torch.tensor(list(bytes.fromhex(self.teacher.fingerprint)), dtype=torch.uint8)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See that the run goes on with its teacher.

        Raises:
            CheckpointError: it is another one.
        """
        before, now = bytes(state["teacher"].tolist()).hex(), self.teacher.fingerprint
        if before != now:
            raise CheckpointError(
                f"teacher {self.teacher.name} has other weights ({now[:12]}) than when the run began ({before[:12]}), "
                "expected the same"
            )

    def _alignment(self, batch: MicroBatch) -> Alignment:
        return align(self.model.config.grid, self.teacher.config.grid, batch.waveforms.shape[1])

    def _taught(self, batch: MicroBatch, *, stored: bool) -> tuple[Taught, Tensor]:
        """What the teacher says of the clean clips at the common frames, and of which clips (B,) that is finite.

        Held-out speech, which is no part of the corpus, is never among what is `stored`.
        """
        if stored and self.stored is not None:
            return self._looked_up(batch, self.stored)
        assert batch.clean is not None
        taught = self.teacher(to_device(batch.clean, self.teacher.device))
        layers = taught.layers[:, :, self._alignment(batch).of_teacher]  # (L, B, T, D)
        valid = layers.isfinite().flatten(2).all(dim=2).all(dim=0)  # (B,)
        scores = taught.scores
        if scores is not None:
            finite = scores.isfinite()
            valid, scores = valid & finite.all(dim=1), torch.where(finite, scores, 0.0)
        self._tell_of(batch, valid, lambda name: "the teacher's features are not finite")
        return Taught(layers, scores), valid

    def _looked_up(self, batch: MicroBatch, stored: StoredFeatures) -> tuple[Taught, Tensor]:
        """The same, of features that were computed of whole clips."""
        alignment, teacher = self._alignment(batch), self.teacher
        nothing = np.zeros((alignment.count, len(teacher.layers), teacher.config.width), np.float16)
        places = [alignment.teacher + start // self.crop_step for start in batch.starts]
        rows = [stored.frames(name, first, alignment.count) for name, first in zip(batch.ids, places, strict=True)]
        layers = torch.from_numpy(np.stack([nothing if row is None else row for row in rows]))  # (B, T, L, D)
        valid, scores = torch.tensor([row is not None for row in rows]), None
        if teacher.labels:
            zero = np.zeros(len(teacher.labels), np.float32)
            known = [stored.scores(name) for name in batch.ids]
            scores = torch.from_numpy(np.stack([zero if one is None else one for one in known]))  # (B, K)
        self._tell_of(batch, valid, stored.why_not)
        device = teacher.device
        moved = None if scores is None else to_device(scores, device)
        return Taught(to_device(layers, device).permute(2, 0, 1, 3).float(), moved), to_device(valid, device)

    def _tell_of(self, batch: MicroBatch, valid: Tensor, why: Callable[[str], str]) -> None:
        for name, sound in zip(batch.ids, valid.tolist(), strict=True):
            if not sound and name not in self._told:
                self._told.add(name)
                LOG.warning("%s: %s; training goes on without this clip", name, why(name))

    def _masks(self, batch: MicroBatch, update: int) -> Tensor:
        """Masks (2, B, T) at the input and in the middle, each a function of seed, update and clip alone."""
        assert batch.clean is not None
        config, alignment = self.config.mask, self._alignment(batch)
        level = levels(batch.clean.numpy(), alignment.student + alignment.count, self.crop_step)
        spans = {"input": config.input_span, "middle": config.middle_span}
        rows = [
            loud_mask(row, span, config, np.random.default_rng(keyed_seed(self.config.run.seed, kind, update, key)))
            for kind, span in spans.items()
            for key, row in zip(batch.keys, level[:, alignment.of_student], strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).unflatten(0, (2, len(batch.keys)))  # (2, B, T)
