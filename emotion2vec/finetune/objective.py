"""Fine-tuning as an objective: a head on an encoder learns labels, which go by the ids of utterances.

B: utterances. K: classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from emotion2vec.checkpoint.native import description
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.errors import TrainingError
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.network import TunedNetwork, TuneOutput
from emotion2vec.finetune.strategy import parameter_groups
from emotion2vec.finetune.work import clip_flops
from emotion2vec.training.metrics import exact
from emotion2vec.training.objective import Objective, ParameterGroup


@dataclass(frozen=True)
class Labels:
    """What is known of each utterance, by its id.

    Attributes:
        names: classes, in the order of the head's scores.
        classes: its class's number.
        weights: what its loss counts.
        shares: of the classes among the clips that train.
    """

    names: tuple[str, ...]
    classes: Mapping[str, int]
    weights: Mapping[str, float]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class TuneSums:
    """What an update's micro-batches add up to.

    Attributes:
        loss: () weighted losses.
        confusion: (K, K) clips by true and predicted class.
    """

    loss: Tensor
    confusion: Tensor


class Finetuning(Objective[TuneOutput, TuneSums]):
    """Classes of utterances, by cross-entropy.

    Args:
        config: the run's configuration.
        network: encoder and head.
        labels: of all utterances that train.
    """

    name = "finetune"
    shown: ClassVar[Mapping[str, str]] = {
        "loss": "loss {:.3f}",
        "UA": "UA {:.1f}",
        "validation_UA": "validation UA {:.1f}",
    }
    counted = ("weight", "clips")

    def __init__(self, config: FinetuneConfig, network: TunedNetwork, labels: Labels):
        super().__init__(network, network.encoder)
        self.config = config
        self.tuned = network
        self.labels = labels

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Weights of the clips, and how many there are."""
        return {"weight": sum(self.labels.weights[name] for name in batch.ids), "clips": len(batch.ids)}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, padding, labels and weights."""
        labels = torch.tensor([self.labels.classes[name] for name in batch.ids])
        weights = torch.tensor([self.labels.weights[name] for name in batch.ids])
        return batch.waveforms, batch.padding, labels, weights

    def loss(self, output: TuneOutput, counts: Mapping[str, float]) -> Tensor:
        """The weighted mean over the clips of the update."""
        return output.loss / counts["weight"]

    def sums(self, outputs: Sequence[TuneOutput]) -> TuneSums:
        """Losses, and who was taken for what."""
        count = len(self.labels.names)
        cells = torch.cat([output.labels * count + output.scores.argmax(dim=1) for output in outputs])
        confusion = exact(torch.bincount(cells, minlength=count * count)).view(count, count)
        return TuneSums(exact(torch.stack([output.loss for output in outputs])).sum(), confusion)

    def metrics(self, sums: TuneSums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """The loss, and the share of the clips that were right: WA, and UA over the classes that were there."""
        found = sums.confusion.sum(dim=1)
        right = sums.confusion.diagonal()
        recall = (right / found.clamp(min=1)).sum() / (found > 0).sum()
        return {"loss": sums.loss / counts["weight"], "WA": 100 * right.sum() / found.sum(), "UA": 100 * recall}

    def flops(self, batch: MicroBatch) -> float:
        """Operations of encoder and head, backward through what learns."""
        return len(batch.ids) * clip_flops(self.model, batch.waveforms.shape[1])

    def parameter_groups(self) -> list[ParameterGroup]:
        """Head and parts of the encoder, each at its rate."""
        return parameter_groups(self.model, self.config.optim)

    def description(self) -> dict[str, Any]:
        """The encoder's dimensions, labels and head."""
        head = self.model.head
        assert head is not None
        return description(self.model.config, head.labels, head.config)

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """After the first backward pass, everything that is to learn must have a gradient.

        Raises:
            TrainingError: something has none.
        """
        if update > 1:
            return
        missed = [name for name, p in self.network.named_parameters() if p.requires_grad and p.grad is None]
        if missed:
            raise TrainingError(
                f"{len(missed)} trainable tensors got no gradient, so that they would never learn: "
                f"{', '.join(missed[:8])}{' ...' * (len(missed) > 8)}"
            )
