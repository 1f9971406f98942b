"""The neural heads' network, its data on the device, and its training loop.

N: clips. T: frames of all clips together. R: frames of a batch. D: channels. H: hidden width. K: classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion2vec.seeding import keyed_seed

if TYPE_CHECKING:
    from emotion2vec.probe.heads import Task

EVALUATION_CLIPS = 256
"""Clips per batch when predicting."""

CPU_BLOCK_CLIPS = 4
"""Clips whose frames go through the first layer at once on a CPU, so that they stay in its cache."""

STD_FLOOR = 1e-5
"""Smallest standard deviation that standardization divides by, so that constant channels stay near 0."""


@dataclass(frozen=True)
class Segments:
    """Rows of features on the device, one run of rows per clip, with the statistics that standardize them.

    Attributes:
        rows: (T, D), the clips' frames one after another (or one vector per clip).
        starts: (N,) first row of each clip.
        lengths: (N,) rows of each clip.
        shift: (D,) mean of the training rows, or 0.
        scale: (D,) standard deviation of the training rows, or 1.
    """

    rows: Tensor
    starts: Tensor
    lengths: Tensor
    shift: Tensor
    scale: Tensor

    @classmethod
    def of_vectors(cls, task: Task) -> Segments:
        """One row per clip: its vector."""
        vectors = task.table.vectors
        return cls._build(vectors, np.ones(len(vectors), np.int64), task, torch.float32)

    @classmethod
    def of_frames(cls, task: Task, dtype: torch.dtype) -> Segments:
        """The frames of every clip, in `dtype`."""
        assert task.table.frames is not None, "a head that reads frames sets needs_frames"
        return cls._build(task.table.frames, task.table.lengths, task, dtype)

    @classmethod
    def _build(cls, rows: np.ndarray, lengths: np.ndarray, task: Task, dtype: torch.dtype) -> Segments:
        starts = np.cumsum(lengths) - lengths  # (N,)
        shift, scale = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
        if task.standardize:
            shift, scale = moments(rows, starts[task.train], lengths[task.train])
        device = torch.device(task.device)
        return cls(
            rows=torch.from_numpy(rows).to(device, dtype),
            starts=torch.from_numpy(starts).to(device),
            lengths=torch.from_numpy(lengths).to(device),
            shift=torch.from_numpy(shift).to(device, torch.float32),
            scale=torch.from_numpy(scale).to(device, torch.float32),
        )

    def take(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Gather the rows (R, D) of some clips, and the place (R,) in `clips` that each row belongs to."""
        lengths = self.lengths[clips]
        owner = torch.repeat_interleave(torch.arange(len(clips), device=clips.device), lengths)  # (R,)
        first = torch.cumsum(lengths, 0) - lengths
        offset = torch.arange(len(owner), device=clips.device) - first[owner]
        return self.rows.index_select(0, self.starts[clips][owner] + offset), owner


class PooledClassifier(nn.Module):
    """Linear D → H, optionally ReLU, mean over a clip's rows, Linear H → K.

    Standardization is folded into the first layer, which gives the same numbers and gradients as standardized rows.
    """

    def __init__(self, data: Segments, *, hidden: int, classes: int, relu: bool, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hidden = nn.Linear(data.rows.shape[1], hidden)
            self.output = nn.Linear(hidden, classes)
        self.relu = relu
        self.to(data.rows.device)

    def forward(self, data: Segments, clips: Tensor) -> Tensor:
        """Return logits (clips, K) of the clips at these positions."""
        weight = self.hidden.weight / data.scale  # (H, D)
        bias = self.hidden.bias - weight @ data.shift  # (H,)
        weight, bias = weight.to(data.rows.dtype), bias.to(data.rows.dtype)
        blocks = clips.split(CPU_BLOCK_CLIPS if clips.device.type == "cpu" else len(clips))
        total = torch.cat([self._sum(data, block, weight, bias) for block in blocks])  # (clips, H)
        return self.output(total / data.lengths[clips].unsqueeze(1))  # (clips, K)

    def _sum(self, data: Segments, clips: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Sum each clip's hidden rows, (clips, H) float32."""
        rows, owner = data.take(clips)
        x = functional.linear(rows, weight, bias)  # (R, H)
        if self.relu:
            x = functional.relu(x)
        member = (torch.arange(len(clips), device=owner.device).unsqueeze(1) == owner).to(x.dtype)  # (clips, R)
        return (member @ x).float()


def train(
    network: PooledClassifier,
    data: Segments,
    task: Task,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[np.ndarray],
    updates: int,
    validate_every: int,
    after_validation: Callable[[], None] | None = None,
) -> np.ndarray:
    """Train with cross-entropy, keep the weights with the best WA on validation, the first of equals.

    Args:
        network: what to train.
        data: its data, for all clips of the task.
        task: labels, and which clips validate and test.
        optimizer: of the network's parameters.
        batches: positions of the clips of each update.
        updates: how many updates to train for.
        validate_every: updates between validations.
        after_validation: called after each, for a schedule by epochs.

    Returns:
        (len(test),) class numbers that the best weights give the test clips.
    """
    device = data.rows.device
    labels = torch.from_numpy(task.labels).to(device)
    best, weights = -1.0, network.state_dict()
    for update in range(1, updates + 1):
        clips = torch.from_numpy(next(batches)).to(device)
        optimizer.zero_grad()
        functional.cross_entropy(network(data, clips), labels[clips]).backward()
        optimizer.step()
        if update % validate_every == 0 or update == updates:
            score = float(np.mean(predict(network, data, task.valid) == task.labels[task.valid]))
            if score > best:
                best, weights = score, copy.deepcopy(network.state_dict())
            if after_validation is not None:
                after_validation()
    network.load_state_dict(weights)
    return predict(network, data, task.test)


@torch.inference_mode()
def predict(network: PooledClassifier, data: Segments, clips: np.ndarray) -> np.ndarray:
    """Class numbers (len(clips),) of the clips at these positions."""
    found = [
        network(data, part.to(data.rows.device)).argmax(dim=1).cpu()
        for part in torch.from_numpy(clips).split(EVALUATION_CLIPS)
    ]
    return torch.cat(found).numpy()


def batch_order(clips: np.ndarray, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of clips without end, reshuffled every epoch; an epoch's last batch may be smaller."""
    epoch = 0
    while True:
        order = np.random.default_rng(keyed_seed("batches", seed, epoch)).permutation(clips)
        yield from (order[start : start + size] for start in range(0, len(order), size))
        epoch += 1


def moments(rows: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) of the rows of some clips, clip by clip in float64."""
    total, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start, length in zip(starts, lengths, strict=True):
        part = rows[start : start + length].astype(np.float64)
        total += part.sum(axis=0)
        squares += np.einsum("td,td->d", part, part)
    mean = total / lengths.sum()
    std = np.sqrt(np.maximum(squares / lengths.sum() - mean**2, 0))
    return mean, np.maximum(std, STD_FLOOR)
