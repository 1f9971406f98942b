"""Emotion prediction in conversation: a hierarchical GRU over the turns before the one that is predicted.

N: clips. R: rows of all clips, one per clip or one per stretch of frames. B: turns of a batch that are predicted.
C: turns heard. U: rows of a turn. D: channels. H: hidden width. K: classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotion2vec.corpora.conversations import Contexts, Turn
from emotion2vec.probe.features.table import FeatureTable, nonzero_scale
from emotion2vec.probe.tasks import Prediction, Task


@dataclass(frozen=True)
class Rows:
    """What is read of every clip.

    Attributes:
        values: (R, D) float32.
        starts: (N,) first row of each clip.
        lengths: (N,) rows of each clip, 0 where it could not be read.
        device: where to train.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    device: str

    def of(self, clips: np.ndarray) -> np.ndarray:
        """Numbers of the rows of some clips, one clip after another."""
        parts = [np.arange(self.starts[i], self.starts[i] + self.lengths[i]) for i in clips]
        return np.concatenate([np.empty(0, np.int64), *parts])


@dataclass(frozen=True, kw_only=True)
class DialogueHead:
    """Predicts the emotion of a turn from those before it; the turn itself is never heard.

    A GRU over the rows of each turn gives the turn's state; a second GRU over the turns' states, each with a mark
    whether it is by the speaker to be predicted, gives the dialogue's, and a linear layer the classes. The hierarchy is
    that of Shi et al. (2023), as in the emotion2vec paper. Rows are clip vectors, or with `needs="frames"` means over
    `stride` frames. Adam, the epoch best on validation.
    """

    name: str = "dialogue"
    kinds: tuple[str, ...] = ("conversation",)
    needs: str = "vectors"
    hidden: int = 64
    lr: float = 1e-3
    batch: int = 32
    epochs: int = 30
    stride: int = 10

    def prepare(self, table: FeatureTable, device: str) -> Rows:
        """Clip vectors, or frames averaged over stretches."""
        if self.needs == "vectors":
            return Rows(table.vectors, np.arange(len(table.vectors)), table.usable.astype(np.int64), device)
        assert table.frames is not None, "a head that reads frames sets needs"
        ends = np.cumsum(table.lengths)
        parts = [
            np.add.reduceat(table.frames[end - length : end], steps := np.arange(0, length, self.stride))
            / np.diff([*steps, length])[:, None]
            for end, length in zip(ends, table.lengths, strict=True)
            if length
        ]
        lengths = -(-table.lengths // self.stride)
        return Rows(np.concatenate(parts).astype(np.float32), np.cumsum(lengths) - lengths, lengths, device)

    def predict(self, data: Rows, task: Task) -> Prediction:
        """Train, keep the epoch best on validation, predict the turns of the test."""
        import torch

        from emotion2vec.probe.dialogue_network import DialogueClassifier
        from emotion2vec.probe.networks import Schedule, batch_order, train

        assert task.contexts is not None, "the kinds of a head say what it learns"
        values = data.values
        if task.standardize:
            fitted = values[data.of(task.contexts.heard(task.train))]
            mean, std = fitted.mean(axis=0, dtype=np.float64), fitted.std(axis=0, dtype=np.float64)
            values = ((values - mean) / nonzero_scale(mean, std)).astype(np.float32)
        network = DialogueClassifier(
            torch.from_numpy(values).to(data.device),
            heard_rows(data, task.contexts),
            hidden=self.hidden,
            outputs=task.outputs,
            seed=task.seed,
        )
        epoch = -(-len(task.train) // self.batch)
        schedule = Schedule(batch_order(task.train, self.batch, task.seed), self.epochs * epoch, epoch)
        return train(network, task, torch.optim.Adam(network.parameters(), lr=self.lr), schedule)


def heard_rows(data: Rows, contexts: Contexts) -> list[list[tuple[np.ndarray, bool]]]:
    """For every clip (N) the turns that are heard: numbers of their rows, and whether it is the speaker's own."""
    known: dict[tuple[int, ...], np.ndarray] = {}

    def rows(turn: Turn) -> np.ndarray:
        if turn.clips not in known:
            known[turn.clips] = data.of(np.array(turn.clips))
        return known[turn.clips]

    return [[(rows(turn), turn.own) for turn in turns] for turns in contexts.before]
