"""Probing heads: what is trained on frozen features of a fold and predicts its test clips.

N: clips. T: frames of all clips together. D: channels of a frame. P: channels of a clip's vector. H: hidden width.
K: classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emotion2vec.errors import ConfigError
from emotion2vec.probe.store import FeatureTable, nonzero_scale

if TYPE_CHECKING:
    from emotion2vec.probe.frames import FrameBank


@dataclass(frozen=True, kw_only=True)
class Task:
    """One fold to train and test on; the position arrays refer to the table's clips.

    Attributes:
        labels: (N,) class numbers.
        classes: K.
        speakers: (N,) speaker of each clip, or None where training and test share speakers or speakers are unknown.
        train: positions of the clips that train.
        valid: positions of the clips that choose epoch and settings.
        test: positions of the clips to predict.
        standardize: shift and scale each channel to mean 0 and deviation 1 over the training clips.
        seed: of weights and batch order.
    """

    labels: np.ndarray
    classes: int
    speakers: np.ndarray | None
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    standardize: bool
    seed: int


class Head(Protocol):
    """A kind of head with its settings."""

    @property
    def name(self) -> str:
        """Name in tables and JSON."""
        ...

    @property
    def needs_frames(self) -> bool:
        """Whether the table must keep frames."""
        ...

    def prepare(self, table: FeatureTable, device: str) -> Any:
        """Bring the features into the form that `predict` reads, once for all folds."""
        ...

    def predict(self, data: Any, task: Task) -> np.ndarray:
        """Train on the fold and return class numbers (len(test),) of its test clips; called from several threads."""
        ...


@dataclass(frozen=True, kw_only=True)
class LogisticRegressionHead:
    """Multinomial logistic regression on standardized clip vectors (scikit-learn, L2).

    The inverse penalty C is the one of `grid` with the best mean WA in a cross-validation within the training and
    validation clips, by whole speakers where folds are (GroupKFold), the smallest of equals; the final fit is on all
    of them. Vectors are always standardized, with the statistics of the clips that are fitted, for the penalty treats
    channels alike.
    """

    name: str = "logreg"
    needs_frames: bool = False
    grid: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    inner_folds: int = 5
    tolerance: float = 1e-3
    max_iterations: int = 1000

    def prepare(self, table: FeatureTable, device: str) -> np.ndarray:
        """The clip vectors."""
        return table.vectors

    def predict(self, data: np.ndarray, task: Task) -> np.ndarray:
        """Choose C within the training clips, fit on all of them, predict the test clips."""
        rows = np.sort(np.concatenate([task.train, task.valid]))
        accuracy = [
            self._path(data, task, fitted, held)
            for fitted, held in self._inner_splits(task, rows)
            if len(set(task.labels[fitted])) > 1
        ]
        mean = np.mean(accuracy, axis=0) if accuracy else np.zeros(len(self.grid))
        best = sorted(self.grid)[int(np.argmax(mean))]
        scaled = standardized(data, rows)
        return self._regression(best).fit(scaled[rows], task.labels[rows]).predict(scaled[task.test])

    def _path(self, data: np.ndarray, task: Task, fitted: np.ndarray, held: np.ndarray) -> list[float]:
        """WA on held clips for every C in rising order, each fit starting where the last one ended."""
        scaled = standardized(data, fitted)
        regression = self._regression(self.grid[0]).set_params(warm_start=True)
        return [
            regression.set_params(C=c).fit(scaled[fitted], task.labels[fitted]).score(scaled[held], task.labels[held])
            for c in sorted(self.grid)
        ]

    def _inner_splits(self, task: Task, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        from sklearn.model_selection import GroupKFold, KFold

        speakers = None if task.speakers is None else task.speakers[rows]
        if speakers is not None and len(set(speakers)) > 1:
            splits = GroupKFold(min(self.inner_folds, len(set(speakers)))).split(rows, groups=speakers)
        else:
            splits = KFold(min(self.inner_folds, len(rows)), shuffle=True, random_state=task.seed).split(rows)
        return [(rows[fitted], rows[held]) for fitted, held in splits]

    def _regression(self, inverse_penalty: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=inverse_penalty, tol=self.tolerance, max_iter=self.max_iterations)


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """SUPERB's emotion head: Linear to 256, mean over time, Linear to classes (Yang et al., 2021; S3PRL).

    Adam at 1e-4, 30,000 updates of 32 clips, validated (WA) every 500, as in S3PRL's emotion task. Both layers are
    linear, so the mean over time can be taken first: the head reads clip vectors and is exact.
    """

    name: str = "linear"
    needs_frames: bool = False
    hidden: int = 256
    lr: float = 1e-4
    batch: int = 32
    updates: int = 30_000
    validate_every: int = 500

    def prepare(self, table: FeatureTable, device: str) -> tuple[np.ndarray, str]:
        """The clip vectors, and where to train."""
        return table.vectors, device

    def predict(self, data: tuple[np.ndarray, str], task: Task) -> np.ndarray:
        """Train, keep the weights best on validation, predict the test clips."""
        import torch

        from emotion2vec.probe.networks import Schedule, VectorClassifier, batch_order, train

        vectors, device = data
        if task.standardize:
            vectors = standardized(vectors, task.train)
        network = VectorClassifier(
            torch.from_numpy(vectors).to(device), hidden=self.hidden, classes=task.classes, seed=task.seed
        )
        schedule = Schedule(
            batches=batch_order(task.train, self.batch, task.seed),
            updates=self.updates,
            validate_every=self.validate_every,
        )
        return train(network, task, torch.optim.Adam(network.parameters(), lr=self.lr, fused=True), schedule)


@dataclass(frozen=True, kw_only=True)
class MlpHead:
    """The paper's head: Linear to 256 and ReLU per frame, mean over time, Linear to classes (Ma et al., ACL 2024).

    RMSprop with momentum 0.9, learning rate cycling between 5e-4 and 1e-3 (10 epochs up, 10 down), 100 epochs of
    batches of 128, the epoch with the best WA on validation. `precision` is that of the products with frames: `fp32`,
    `bf16` (several times faster where the processor has it), or `auto` for bf16 exactly there; the result says which.
    With `patience`, training ends after so many epochs without a better one.
    """

    name: str = "mlp"
    needs_frames: bool = True
    hidden: int = 256
    lr: float = 5e-4
    max_lr: float = 1e-3
    cycle_epochs: int = 10
    momentum: float = 0.9
    batch: int = 128
    epochs: int = 100
    patience: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ConfigError(f"precision of head mlp is {self.precision!r}, expected auto, fp32 or bf16")

    def prepare(self, table: FeatureTable, device: str) -> FrameBank:
        """Pack the frames."""
        from emotion2vec.probe.frames import FrameBank, native_precision

        return FrameBank.of(table, native_precision(device) if self.precision == "auto" else self.precision, device)

    def predict(self, data: FrameBank, task: Task) -> np.ndarray:
        """Train, keep the epoch best on validation, predict the test clips."""
        import torch

        from emotion2vec.probe.networks import FrameClassifier, Schedule, batch_order, train

        shift, scale = data.moments(task.train) if task.standardize else (0.0, 1.0)
        network = FrameClassifier(data, shift, scale, hidden=self.hidden, classes=task.classes, seed=task.seed)
        optimizer = torch.optim.RMSprop(network.parameters(), lr=self.lr, momentum=self.momentum)
        cycle = torch.optim.lr_scheduler.CyclicLR(optimizer, self.lr, self.max_lr, step_size_up=self.cycle_epochs)
        epoch = -(-len(task.train) // self.batch)
        schedule = Schedule(
            batches=batch_order(task.train, self.batch, task.seed),
            updates=self.epochs * epoch,
            validate_every=epoch,
            after_validation=cycle.step,
            patience=self.patience,
        )
        return train(network, task, optimizer, schedule)


def standardized(vectors: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Shift and scale the channels of all vectors (N, P) to mean 0 and deviation 1 over the fitted clips.

    Channels that are constant there, up to rounding, are only shifted. Returns (N, P) float32.
    """
    mean = vectors[fitted].mean(axis=0, dtype=np.float64)
    std = vectors[fitted].std(axis=0, dtype=np.float64)
    return ((vectors - mean) / nonzero_scale(mean, std)).astype(np.float32)


HEADS: dict[str, Head] = {"linear": LinearHead(), "mlp": MlpHead(), "logreg": LogisticRegressionHead()}
"""Heads by the name that `--head` takes."""


def make_heads(heads: Sequence[str | Head]) -> list[Head]:
    """Look up heads by name; heads with settings of their own pass through.

    Raises:
        ConfigError: no head, or names that are not known (all of them at once).
    """
    unknown = [head for head in heads if isinstance(head, str) and head not in HEADS]
    if unknown or not heads:
        raise ConfigError(f"head is {', '.join(map(repr, unknown)) or 'empty'}, expected one of {', '.join(HEADS)}")
    return [HEADS[head] if isinstance(head, str) else head for head in heads]
