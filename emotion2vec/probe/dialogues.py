"""The recipe of emotion prediction in conversation: a hierarchical GRU over the turns before the one that is predicted.

N: clips. R: rows of all clips, one per clip or one per stretch of frames. D: channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emotion2vec.corpora.conversations import Contexts, Turn
from emotion2vec.model.dialogue import Dialogue
from emotion2vec.probe.features.table import FeatureTable
from emotion2vec.probe.problem import Fitted, Problem
from emotion2vec.probe.training import Schedule, train
from emotion2vec.tasks.scaling import Scaling


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

    def fit(self, data: Rows, problem: Problem) -> Fitted:
        """Train, keep the epoch best on validation, predict the turns of the test."""
        assert problem.contexts is not None, "the kinds of a head say what it learns"
        scaling = None
        if problem.standardize:
            scaling = Scaling.of(data.values[data.of(problem.contexts.heard(problem.train))])
        values = torch.from_numpy(data.values if scaling is None else scaling.apply(data.values)).to(data.device)
        heard = heard_turns(data, values, problem.contexts)
        head = Dialogue(values.shape[1], self.hidden, problem.outputs, problem.generator()).to(data.device)

        def scores_of(clips: Tensor) -> Tensor:
            turns, own = zip(*(heard[clip] for clip in clips.tolist()), strict=True)
            scores: Tensor = head(turns, own)
            return scores

        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr)
        schedule = Schedule.of_epochs(problem, self.batch, self.epochs)
        return train(head, scores_of, problem, optimizer, schedule, scaling)


def heard_turns(data: Rows, values: Tensor, contexts: Contexts) -> list[tuple[list[Tensor], list[bool]]]:
    """For every clip (N) the turns that are heard, rows of `values` (R, D), and whether each is the speaker's own."""
    known: dict[tuple[int, ...], Tensor] = {}

    def rows(turn: Turn) -> Tensor:
        if turn.clips not in known:
            known[turn.clips] = values[torch.from_numpy(data.of(np.array(turn.clips))).to(values.device)]
        return known[turn.clips]

    return [([rows(turn) for turn in turns], [turn.own for turn in turns]) for turns in contexts.before]
