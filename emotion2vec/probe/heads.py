"""The recipes of the neural heads, each with its settings, and all recipes by name.

N: clips. L: layers. P: channels of a clip's vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from emotion2vec.errors import ConfigError
from emotion2vec.model.frame_heads import (
    SHARPNESS,
    Attention,
    AttentiveStatistics,
    Convolutions,
    Cosine,
    TransformerLeg,
)
from emotion2vec.model.heads import FrameMlp, LayerMix, MeanTwoLayers, Recurrent
from emotion2vec.probe.dialogues import DialogueHead
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.logreg import LogisticRegressionHead
from emotion2vec.probe.packed import FrameBank, mean_hidden, native_precision
from emotion2vec.probe.problem import Fitted, HeadRecipe, Problem
from emotion2vec.probe.ridge import RidgeHead
from emotion2vec.probe.training import Schedule, batch_order, train
from emotion2vec.tasks.class_losses import ClassLoss
from emotion2vec.tasks.scaling import Scaling

BOTH = ("classification", "regression")


@dataclass(frozen=True)
class Vectors:
    """Clip vectors (N, P), or (N, L, P) of all layers, and where to train."""

    values: np.ndarray
    device: str

    def standardized(self, fitted: np.ndarray | None) -> tuple[Tensor, Scaling | None]:
        """The vectors on their device, scaled over these clips, and what they were scaled by; None for nothing."""
        scaling = None if fitted is None else Scaling.of(self.values[fitted])
        values = self.values if scaling is None else scaling.apply(self.values)
        return torch.from_numpy(values).to(self.device), scaling


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """SUPERB's emotion head: Linear to 256, mean over time, Linear to classes (Yang et al., 2021; S3PRL).

    Adam at 1e-4, 30,000 updates of 32 clips, validated (WA) every 500, as in S3PRL's emotion task. Both layers are
    linear, so the mean over time can be taken first: the head reads clip vectors and is exact. S3PRL does not
    standardize features and clips gradients to norm 1; so does `linear-superb`. Where S3PRL's featurizer learns weights
    of all layers, both read the layer that is asked for.
    """

    name: str = "linear"
    kinds: tuple[str, ...] = BOTH
    needs: str = "vectors"
    hidden: int = 256
    lr: float = 1e-4
    batch: int = 32
    updates: int = 30_000
    validate_every: int = 500
    standardize: bool = True
    clip_norm: float | None = None

    def prepare(self, table: FeatureTable, device: str) -> Vectors:
        """The clip vectors."""
        return Vectors(table.vectors, device)

    def fit(self, data: Vectors, problem: Problem) -> Fitted:
        """Train, keep the weights best on validation, predict the test clips."""
        vectors, scaling = data.standardized(problem.train if problem.standardize and self.standardize else None)
        head = MeanTwoLayers(vectors.shape[1], self.hidden, problem.outputs, problem.generator()).to(data.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr, fused=True)
        batches = batch_order(problem.train, self.batch, problem.seed)
        schedule = Schedule(batches, self.updates, self.validate_every, clip_norm=self.clip_norm)
        return train(head, lambda clips: head.of_pooled(vectors[clips]), problem, optimizer, schedule, scaling)


@dataclass(frozen=True, kw_only=True)
class MlpHead:
    """The paper's head: Linear to 256 and ReLU per frame, mean over time, Linear to classes (Ma et al., ACL 2024).

    RMSprop, its learning rate cycling from 5e-4 to 1e-3 and back (10 epochs up, 10 down) and its momentum, against the
    rate, from `momentum` down by `momentum_dip` and back, as PyTorch's CyclicLR does unless told otherwise; 100 epochs
    of batches of 128, the epoch with the best WA on validation. The authors do not standardize features; nor does
    `mlp-paper`. `precision` is that of the products with frames: `fp32`, `bf16` (faster where the processor has it), or
    `auto` for bf16 exactly there; the result says which. With `patience`, training ends after so many epochs without a
    better one.
    """

    name: str = "mlp"
    kinds: tuple[str, ...] = BOTH
    needs: str = "frames"
    hidden: int = 256
    lr: float = 5e-4
    max_lr: float = 1e-3
    cycle_epochs: int = 10
    momentum: float = 0.9
    momentum_dip: float = 0.1
    batch: int = 128
    epochs: int = 100
    patience: int | None = None
    precision: str = "auto"
    standardize: bool = True

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ConfigError(f"precision of head mlp is {self.precision!r}, expected auto, fp32 or bf16")

    def prepare(self, table: FeatureTable, device: str) -> FrameBank:
        """Pack the frames."""
        return FrameBank.of(table, native_precision(device) if self.precision == "auto" else self.precision, device)

    def fit(self, data: FrameBank, problem: Problem) -> Fitted:
        """Train, keep the epoch best on validation, predict the test clips."""
        scaling = data.scaling_over(problem.train) if problem.standardize and self.standardize else None
        gain, offset = data.standardization(scaling)
        head = FrameMlp(data.channels, self.hidden, problem.outputs, problem.generator()).to(gain.device)
        optimizer = torch.optim.RMSprop(head.parameters(), lr=self.lr, momentum=self.momentum)
        cycle = torch.optim.lr_scheduler.CyclicLR(
            optimizer,
            self.lr,
            self.max_lr,
            step_size_up=self.cycle_epochs,
            base_momentum=max(0.0, self.momentum - self.momentum_dip),
            max_momentum=self.momentum,
        )
        schedule = Schedule.of_epochs(
            problem, self.batch, self.epochs, after_validation=cycle.step, patience=self.patience
        )

        def scores_of(clips: Tensor) -> Tensor:
            scores: Tensor = head.output(mean_hidden(head.hidden, data, clips, gain, offset))
            return scores

        return train(head, scores_of, problem, optimizer, schedule, scaling)


@dataclass(frozen=True, kw_only=True)
class WeightedHead:
    """A learned softmax weighting of all layers, then SUPERB's two linear layers (Yang et al., 2021).

    The mean over time commutes with all of it, so the head reads the layers' clip vectors. Each layer is standardized
    by itself, as a weight between layers of different scale would say little; `layer_weights` are reported per fold.
    """

    name: str = "weighted"
    kinds: tuple[str, ...] = BOTH
    needs: str = "layers"
    hidden: int = 256
    lr: float = 1e-3
    batch: int = 32
    epochs: int = 100

    def prepare(self, table: FeatureTable, device: str) -> Vectors:
        """The vectors of all layers."""
        return Vectors(table.vectors.reshape(len(table.vectors), table.layers, -1), device)

    def fit(self, data: Vectors, problem: Problem) -> Fitted:
        """Train, keep the epoch best on validation, predict the test clips."""
        stacked, scaling = data.standardized(problem.train if problem.standardize else None)  # (N, L, P)
        _, layers, width = stacked.shape
        head = LayerMix(layers, width, self.hidden, problem.outputs, problem.generator()).to(data.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr)
        schedule = Schedule.of_epochs(problem, self.batch, self.epochs)
        found = train(head, lambda clips: head.of_pooled(stacked[clips]), problem, optimizer, schedule, scaling)
        weights = [round(weight, 5) for weight in head.layer_weights().tolist()]
        return replace(found, details={**found.details, "layer_weights": weights})


@dataclass(frozen=True, kw_only=True)
class CosineHead:
    """AM-Softmax (Wang et al., 2018): Linear to an embedding, cosines with the classes' directions, times 30.

    In training the cosine of the true class is lowered by `margin`. Reads clip vectors; Adam, the epoch best on
    validation.
    """

    name: str = "cosine"
    kinds: tuple[str, ...] = ("classification",)
    needs: str = "vectors"
    hidden: int = 256
    margin: float = 0.2
    lr: float = 1e-3
    batch: int = 32
    epochs: int = 30

    def prepare(self, table: FeatureTable, device: str) -> Vectors:
        """The clip vectors."""
        return Vectors(table.vectors, device)

    def fit(self, data: Vectors, problem: Problem) -> Fitted:
        """Train, keep the epoch best on validation, predict the test clips."""
        vectors, scaling = data.standardized(problem.train if problem.standardize else None)
        head = Cosine(vectors.shape[1], self.hidden, problem.outputs, problem.generator()).to(data.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr)
        schedule = Schedule.of_epochs(problem, self.batch, self.epochs)
        loss = ClassLoss(margin=SHARPNESS * self.margin)
        return train(head, lambda clips: head.of_pooled(vectors[clips]), problem, optimizer, schedule, scaling, loss)


SEQUENCE_HEADS = {
    "attention": Attention,
    "statistics": AttentiveStatistics,
    "convolutions": Convolutions,
    "transformer": TransformerLeg,
    "gru": Recurrent,
}
"""What `SequenceHead` trains, by its name."""


@dataclass(frozen=True, kw_only=True)
class SequenceHead:
    """Frames through a network that is told by the name, then Linear to classes. Adam, the epoch best on validation.

    `attention` weighs frames by softmax(v · tanh(W x)) (self-attentive pooling; Lin et al., 2017), `statistics` takes
    their deviation too (Okabe et al., 2018), `convolutions` is Pepino et al.'s (2021) on one layer, `transformer` has
    one block of attention between frames, and `gru` takes the mean over time of a bidirectional GRU's outputs.
    """

    name: str
    kinds: tuple[str, ...] = BOTH
    needs: str = "frames"
    hidden: int = 64
    lr: float = 1e-3
    batch: int = 32
    epochs: int = 30

    def prepare(self, table: FeatureTable, device: str) -> FrameBank:
        """Pack the frames."""
        return FrameBank.of(table, "fp32", device)

    def fit(self, data: FrameBank, problem: Problem) -> Fitted:
        """Train, keep the epoch best on validation, predict the test clips."""
        scaling = data.scaling_over(problem.train) if problem.standardize else None
        gain, offset = data.standardization(scaling)
        network = SEQUENCE_HEADS[self.name]
        head = network(data.channels, self.hidden, problem.outputs, problem.generator()).to(gain.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr)
        schedule = Schedule.of_epochs(problem, self.batch, self.epochs)
        return train(head, lambda clips: head(*data.padded(clips, gain, offset)), problem, optimizer, schedule, scaling)


HEADS: dict[str, HeadRecipe] = {
    "linear": LinearHead(),
    "mlp": MlpHead(),
    "logreg": LogisticRegressionHead(),
    "ridge": RidgeHead(),
    "weighted": WeightedHead(),
    **{name: SequenceHead(name=name) for name in SEQUENCE_HEADS},
    "cosine": CosineHead(),
    "dialogue": DialogueHead(),
    "dialogue-frames": DialogueHead(name="dialogue-frames", needs="frames"),
    "mlp-paper": MlpHead(name="mlp-paper", standardize=False, precision="fp32"),
    "linear-superb": LinearHead(name="linear-superb", standardize=False, clip_norm=1.0),
}
"""Recipes by the name that `--head` takes; `mlp-paper` and `linear-superb` standardize as little as the
published ones; S3PRL's also learns weights of all layers, ours reads the one that is asked for."""


def make_heads(heads: Sequence[str | HeadRecipe]) -> list[HeadRecipe]:
    """Look up recipes by name; those with settings of their own pass through.

    Raises:
        ConfigError: no head, or names that are not known (all of them at once).
    """
    unknown = [head for head in heads if isinstance(head, str) and head not in HEADS]
    if unknown or not heads:
        raise ConfigError(f"head is {', '.join(map(repr, unknown)) or 'empty'}, expected one of {', '.join(HEADS)}")
    return [HEADS[head] if isinstance(head, str) else head for head in heads]
