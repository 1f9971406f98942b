"""What a run learns, as the loop sees it: the few things that differ between pretraining, distilling and fine-tuning.

One update of the loop, for every objective: the micro-batches are counted (`counts`), each is turned into arguments of
the network (`inputs`), the network's outputs into a loss (`loss`); what the outputs say of the update is added up over
micro-batches and processes (`sums`), turned into numbers (`metrics`), judged (`check`), and after the optimizer has
moved, what follows it moves too (`after_step`).
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from emotion2vec.checkpoint.native import description
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import Source
from emotion2vec.devices import to_device
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.metrics import UpdateSize, mapped

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from emotion2vec.training.ranks import Ranks

Output = TypeVar("Output")
"""A dataclass: what the network gives for one micro-batch."""

Sums = TypeVar("Sums")
"""A dataclass of tensors, or of such dataclasses or dictionaries: what adds up to an update."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that train alike.

    Attributes:
        parameters: those that train.
        lr_scale: factor on the learning rate.
    """

    parameters: list[nn.Parameter]
    lr_scale: float = 1.0


class Objective(ABC, Generic[Output, Sums]):
    """What a run learns.

    Micro-batches carry the ids of their utterances, by which an objective can look up labels or stored targets. The
    loop calls the network, wrapped for its strategy and precision; the objective does not.

    Attributes:
        name: the verb, shown to the user.
        shown: metrics of a line of progress, each with its format.
        validated: metrics that say something of held-out speech too.
        counted: names of what `counts` counts.
        network: everything that has weights or running statistics; what does not train has no gradient.
        model: the part of it that a checkpoint holds for inference.
        crop_step: crops begin at multiples of so many samples.
        clean: whether micro-batches carry the undistorted crops beside what is trained on, and whether these are
            normalized; None for neither.
    """

    name: ClassVar[str]
    shown: ClassVar[Mapping[str, str]] = {"loss": "loss {:.3f}"}
    validated: tuple[str, ...] = ("loss",)
    counted: tuple[str, ...]
    crop_step: int = 1
    clean: bool | None = None

    def __init__(self, network: nn.Module, model: SpeechEncoder):
        self.network = network
        self.model = model

    @abstractmethod
    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """What of a micro-batch losses are means over, such as frames, by the names of `counted`.

        It is added up over an update's micro-batches and processes before anything is computed.
        """

    @abstractmethod
    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Arguments of the network for a micro-batch; tensors among them are moved to the device.

        Args:
            batch: on the host.
            update: its update; 0 for validation, which is the same every time.
            number: its place in the update on this process.
        """

    @abstractmethod
    def loss(self, output: Output, counts: Mapping[str, float]) -> Tensor:
        """What a micro-batch adds to the loss of its update, (), given the counts of the whole update."""

    @abstractmethod
    def sums(self, outputs: Sequence[Output]) -> Sums:
        """What this process's micro-batches of an update add up to, in float64 where the device has it."""

    @abstractmethod
    def metrics(self, sums: Sums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """Numbers of an update from the sums over all processes, `loss` among them; they may be on the device."""

    @abstractmethod
    def flops(self, batch: MicroBatch) -> float:
        """Floating-point operations of a micro-batch, forward and backward."""

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Parameters that train; called after the network has been wrapped, which may shard them."""

    def learns_label(self, source: int, name: str) -> bool:
        """Whether an utterance's label is learnt beside its audio, for the record of what is known.

        Args:
            source: number of the source that it is from.
            name: its id.
        """
        return False

    def description(self) -> dict[str, Any]:
        """What a checkpoint says of `model`, so that it can be built again."""
        return description(self.model.config)

    def look_ahead(self, outputs: Callable[[], Sequence[Output]], batches: int, ranks: Ranks) -> None:
        """Before the backward passes of an update: see all of it where its loss compares utterances with each other.

        Args:
            outputs: computes those of this process's micro-batches, without gradients, as they will be with them.
            batches: how many there are.
            ranks: the processes.
        """

    def prepare(self, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]) -> None:
        """Take in what is trained on, before a run begins or goes on; all processes call this."""

    def begin(self, batches: Sequence[MicroBatch], fabric: Fabric, ranks: Ranks) -> None:
        """Take in this process's micro-batches of a run's first update, before it."""

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """Judge an update before the optimizer moves.

        Raises:
            TrainingError: it makes no sense to go on.
        """

    def after_step(self, update: int, sums: Sums) -> None:
        """Move what follows the optimizer: a teacher, running statistics; not called for an update that is left out."""

    def scheduled(self, update: int) -> dict[str, float]:
        """What schedules of its own say of an update, to be logged."""
        return {}

    def observe(self, output: Output) -> dict[str, float]:
        """What is measured when an update is logged, after it, by its last micro-batch."""
        return {}

    def own_weights(self) -> dict[str, Tensor]:
        """The model's tensors, themselves, by the names that they have in a checkpoint."""
        return self.model.state_dict()

    def saved_weights(self) -> dict[str, Tensor]:
        """What a checkpoint holds of the model for inference, by the names of `own_weights`; all processes call this.

        Where these are not `own_weights`, a restart gets those by `state`.
        """
        return self.own_weights()

    def state(self) -> dict[str, Tensor]:
        """What a restart needs beside the network's own state."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up a saved state."""


def cnn_apart(objective: Objective[Any, Any], lr_scale: float) -> list[ParameterGroup]:
    """All that trains in two groups: the model's CNN, whose learning rate has a factor, by itself."""
    assert isinstance(objective.model, Emotion2vec)
    cnn = {id(p) for p in objective.model.frontend.layers.parameters()}
    trained = [p for p in objective.network.parameters() if p.requires_grad]
    return [
        ParameterGroup([p for p in trained if id(p) not in cnn]),
        ParameterGroup([p for p in trained if id(p) in cnn], lr_scale),
    ]


def skipped_blocks(model: Emotion2vecConfig, seed: int, update: int, number: int) -> frozenset[int]:
    """Blocks that layerdrop leaves out of one batch, the same on every rank; none in validation, which is update 0."""
    if not update:
        return frozenset()
    rng = random.Random(keyed_seed(seed, "layerdrop", update, number))
    return frozenset(i for i in range(model.prenet_depth + model.depth) if rng.random() < model.layerdrop)


def on_device(inputs: Sequence[Any], device: torch.device) -> list[Any]:
    """Arguments of a network, their tensors (see `training.metrics.mapped`) moved to the device."""
    return [mapped(value, lambda tensor: to_device(tensor, device)) for value in inputs]


def total_size(
    objective: Objective, micro_batches: Sequence[MicroBatch], ranks: Ranks, failed: bool = False
) -> tuple[UpdateSize, bool]:
    """What micro-batches hold over all processes, and whether any of these has failed to read its own."""
    counted = [objective.counts(batch) for batch in micro_batches]
    *counts, seconds, offered, failures = ranks.sum(
        [
            *(sum(counts[name] for counts in counted) for name in objective.counted),
            sum(batch.seconds for batch in micro_batches),
            sum(batch.offered for batch in micro_batches),
            failed,
        ]
    )
    return UpdateSize(dict(zip(objective.counted, counts, strict=True)), seconds, offered), bool(failures)
