"""Clusters of frames as an objective: a model says, of every frame or of hidden ones, which cluster it is in.

B: clips. S: samples. T: frames. Z: scales.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from emotion2vec.clusters.kmeans import Clusters
from emotion2vec.clusters.labels import StoredLabels, Task, fingerprint, make_labels
from emotion2vec.clusters.network import NOTHING, ClusterNetwork, Predicted
from emotion2vec.clusters.settings import HiddenSettings, scales_of
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import Source
from emotion2vec.distil.alignment import Alignment, align
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.pretrain.config import MaskConfig
from emotion2vec.pretrain.masking import masked_frames, time_mask
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.metrics import exact
from emotion2vec.training.objective import Objective, ParameterGroup, cnn_apart, skipped_blocks
from emotion2vec.training.work import clip_flops

if TYPE_CHECKING:
    from emotion2vec.training.ranks import Ranks

LOG = logging.getLogger(__name__)


class PredictedSums(Predicted):
    """Sums over an update's batches, and over all processes; float64."""


@dataclass(frozen=True)
class Drawing:
    """What is drawn in an update, and how the CNN learns.

    Attributes:
        seed: of the run.
        hidden: which frames are hidden.
        cnn_lr_scale: factor on the learning rate of the CNN of a network of ours; None where all learns alike.
        validates: whether held-out speech is judged, whose clusters are found as it is heard.
    """

    seed: int
    hidden: HiddenSettings
    cnn_lr_scale: float | None = None
    validates: bool = False


class ClusterPrediction(Objective[Predicted, PredictedSums]):
    """Learns the clusters of frames, which are found and kept before training begins.

    Args:
        network: encoder and linear layers.
        task: what is clustered, into which folder.
        drawing: what is drawn.
    """

    name = "pretrain"
    shown: ClassVar[Mapping[str, str]] = {
        "loss": "loss {:.3f}",
        "hidden_accuracy": "hidden frames {:.1f} %",
        "seen_accuracy": "frames {:.1f} %",
    }
    counted = ("hidden", "seen")

    def __init__(self, network: ClusterNetwork, task: Task, drawing: Drawing):
        super().__init__(network, network.encoder)
        self.task = task
        self.drawing = drawing
        self.scales = scales_of(task.settings)
        self.clean = False if drawing.validates else None
        self.crop_step = task.frames.grid.stride
        self.validated = ("loss", "hidden_loss", "seen_loss", "hidden_accuracy", "seen_accuracy")
        self._clusters: Clusters | None = None
        self._stored: StoredLabels | None = None
        self._told: set[str] = set()

    def prepare(self, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]) -> None:
        """Find the clusters of all frames, or read those that are there."""
        self._clusters = make_labels(self.task, sources, ranks, say)
        self._stored = StoredLabels(self.task.folder)

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Frames that are hidden, and those that are not, of all clips; whether one has labels is known later."""
        frames = [self._alignment(samples).count for samples in self._samples(batch)]
        hidden = sum(self._hidden(count) for count in frames)
        return {"hidden": hidden, "seen": sum(frames) - hidden}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, padding, labels (B, T, Z), mask (B, T), and blocks to leave out."""
        total = int(self.model.config.grid.count(batch.waveforms.shape[1]))
        labels = np.full((len(batch.ids), total, len(self.scales)), NOTHING, np.int64)
        mask = np.zeros((len(batch.ids), total), dtype=bool)
        for row, (key, samples) in enumerate(zip(batch.keys, self._samples(batch), strict=True)):
            place = self._alignment(samples)
            if not place.count:
                continue
            found = self._labels(batch, row, place, stored=update > 0)
            if found is not None:
                labels[row, place.of_student] = found
            if self.drawing.hidden.share:
                random = np.random.default_rng(keyed_seed(self.drawing.seed, "hidden", update, key))
                mask[row, place.of_student] = time_mask(place.count, self._spans, random)
        config = self.model.config
        skipped: frozenset[int] = frozenset()
        if isinstance(config, Emotion2vecConfig):
            skipped = skipped_blocks(config, self.drawing.seed, update, number)
        covered = torch.from_numpy(mask) if self.drawing.hidden.share else None
        return batch.waveforms, batch.padding, torch.from_numpy(labels), covered, skipped

    def loss(self, output: Predicted, counts: Mapping[str, float]) -> Tensor:
        """Means over scales and frames of the whole update, of hidden ones and of the others, weighed."""
        weight = self.drawing.hidden.seen if self.drawing.hidden.share else 1.0
        hidden = output.hidden.mean() / max(1.0, counts["hidden"])
        return hidden + weight * output.seen.mean() / max(1.0, counts["seen"])

    def sums(self, outputs: Sequence[Predicted]) -> PredictedSums:
        """Cross-entropies, right answers and frames."""
        found = {
            item.name: torch.stack([exact(getattr(output, item.name)) for output in outputs]).sum(dim=0)
            for item in fields(Predicted)
        }
        return PredictedSums(**found)

    def metrics(self, sums: PredictedSums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """Losses and accuracies, over the frames that have labels, the latter in percent and of each scale too."""
        weights = {"hidden": 1.0, "seen": self.drawing.hidden.seen} if self.drawing.hidden.share else {"seen": 1.0}
        found: dict[str, Tensor | float] = {}
        loss: Tensor | float = 0.0
        for kind, weight in weights.items():
            frames = getattr(sums, f"{kind}_frames").clamp(min=1)
            own, right = getattr(sums, kind) / frames, 100 * getattr(sums, f"{kind}_right") / frames  # (Z,)
            found |= {f"{kind}_loss": own.mean(), f"{kind}_accuracy": right.mean()}
            if len(self.scales) > 1:
                named = zip(self.scales, right, strict=True)
                found |= {f"{kind}_accuracy_{scale.name}": value for scale, value in named}
            loss = loss + weight * own.mean()
        return {"loss": loss, **found}

    def flops(self, batch: MicroBatch) -> float:
        """Operations of the encoder, forward and backward."""
        return len(batch.ids) * clip_flops(self.model, batch.waveforms.shape[1])

    def parameter_groups(self) -> list[ParameterGroup]:
        """All that learns, and the CNN by itself where it has a rate of its own."""
        if self.drawing.cnn_lr_scale is not None:
            return cnn_apart(self, self.drawing.cnn_lr_scale)
        return [ParameterGroup([p for p in self.network.parameters() if p.requires_grad])]

    def state(self) -> dict[str, Tensor]:
        """Which clusters they are, so that a run goes on with no others."""
        assert self._clusters is not None
        return {"clusters": torch.tensor(list(fingerprint(self._clusters)), dtype=torch.uint8)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See that the run goes on with its clusters.

        Raises:
            CheckpointError: they are others.
        """
        assert self._clusters is not None
        if bytes(state["clusters"].tolist()) != fingerprint(self._clusters):
            raise CheckpointError(
                f"{self.task.folder}: holds other clusters than when the run began, expected the same"
            )

    @property
    def _spans(self) -> MaskConfig:
        """How frames are hidden, in the terms of pretraining's masks: spans that would cover the share by chance."""
        share = self.drawing.hidden.share
        return MaskConfig(prob=share, adjust=-math.log1p(-share) - share, span=self.drawing.hidden.span)

    def _hidden(self, frames: int) -> int:
        """Frames that are hidden of so many."""
        return masked_frames(frames, self.drawing.hidden.share) if frames and self.drawing.hidden.share else 0

    def _samples(self, batch: MicroBatch) -> list[int]:
        """Samples of each clip of a micro-batch."""
        whole = [batch.waveforms.shape[1]] * len(batch.ids)
        return whole if batch.lengths is None else batch.lengths.tolist()

    def _alignment(self, samples: int) -> Alignment:
        return align(self.model.config.grid, self.task.frames.grid, samples)

    def _labels(self, batch: MicroBatch, row: int, place: Alignment, *, stored: bool) -> np.ndarray | None:
        """Clusters (T, Z) of the frames of a clip that both grids have; held-out speech is labelled as it is heard."""
        if stored:
            assert self._stored is not None
            name, first = batch.ids[row], place.teacher + batch.starts[row] // self.crop_step
            found = self._stored.frames(name, first, place.count)
            if found is None and name not in self._told:
                self._told.add(name)
                LOG.warning("%s: %s; training goes on without this clip", name, self._stored.why_not(name))
            return found
        assert batch.clean is not None and self._clusters is not None
        heard = self.task.frames(batch.clean[row, : self._samples(batch)[row]].numpy())  # (L, T, D)
        if not np.isfinite(heard).all():
            return None
        labels, _ = self._clusters.label(dict(zip(self.task.frames.layers, heard, strict=True)))
        return labels[place.of_teacher]
