"""Held-out speakers: their whole clips are scored, and the best checkpoint is the one that scores best.

N: clips. B: clips of a batch. S: samples. K: scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.finetune.goals import Goal
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.training.ranks import Ranks

if TYPE_CHECKING:
    from lightning.fabric import Fabric

BATCH_SECONDS = 40.0
"""Audio of a batch, padding included, in s; a longer clip is a batch of its own."""


@dataclass(frozen=True)
class Clip:
    """A decoded clip.

    Attributes:
        waveform: (S,) as the encoder wants to hear it.
        truth: what it is judged by, see `Goal`.
        corpus: where it comes from; empty where there is one corpus.
    """

    waveform: np.ndarray
    truth: np.ndarray
    corpus: str


def judged(goal: Goal, scores: np.ndarray, clips: Sequence[Clip]) -> dict[str, float]:
    """Metrics of scores (N, K) of clips; of several corpora the means, and the main one of each as `UA_NAME`.

    `score` is the main metric and, where clips are few enough for ties, a hair of the loss.
    """
    names, truth = np.array([clip.corpus for clip in clips]), np.stack([clip.truth for clip in clips])
    found = {name: goal.judge(scores[names == name], truth[names == name]) for name in sorted(set(names.tolist()))}
    means = {key: float(np.mean([one[key] for one in found.values()])) for key in next(iter(found.values()))}
    means["score"] = means[goal.main] - 1e-3 * means["loss"]
    each = {f"{goal.main}_{name}": one[goal.main] for name, one in found.items()}
    return means | (each if len(found) > 1 else {})


class HeldOutSpeakers:
    """Clips of held-out speakers, decoded once and kept in memory, shared out over the processes.

    Args:
        goal: what they are judged by.
        clips: all of them, in the same order on every process.
        ranks: the processes.
        every: updates between validations.
        last: the last update, which is validated too.
    """

    def __init__(self, goal: Goal, clips: Sequence[Clip], ranks: Ranks, *, every: int, last: int):
        self.goal = goal
        self.clips = clips
        self.ranks = ranks
        self.every = every
        self.last = last

    def due(self, update: int) -> bool:
        """See `emotion2vec.training.validation.HeldOut`."""
        return update % self.every == 0 or update == self.last

    def losses(self, network: nn.Module, fabric: Fabric) -> dict[str, float]:
        """See `emotion2vec.training.validation.HeldOut`."""
        mine = list(range(self.ranks.rank, len(self.clips), self.ranks.size))
        rows = judge(network, [self.clips[number] for number in mine], fabric)
        everybody = self.ranks.gather((mine, rows))
        order = np.argsort(np.concatenate([np.array(numbers) for numbers, _ in everybody]), kind="stable")
        whole = np.concatenate([found for _, found in everybody])[order]
        return {f"validation_{name}": value for name, value in judged(self.goal, whole, self.clips).items()}


def judge(network: nn.Module, clips: Sequence[Clip], fabric: Fabric) -> np.ndarray:
    """Scores (N, K) of clips, whole, in batches of like length, without dropout."""
    tuned: TunedNetwork = network.module  # type: ignore[assignment]
    network.eval()
    with fabric.autocast():
        rows = score_waveforms(tuned.scores, [clip.waveform for clip in clips], fabric.device)
    network.train()
    return rows


@torch.inference_mode()
def score_waveforms(
    scores_of: Callable[[Tensor, Tensor | None], Tensor], waveforms: Sequence[np.ndarray], device: torch.device
) -> np.ndarray:
    """Scores (N, K) of whole clips by a network in eval mode, which takes waveforms (B, S) and padding (B, S)."""
    found: list[Tensor | None] = [None] * len(waveforms)
    for numbers in by_length([waveform.size for waveform in waveforms]):
        batch, padding = padded([waveforms[number] for number in numbers])
        scored = scores_of(batch.to(device), None if padding is None else padding.to(device)).float().cpu()
        for number, row in zip(numbers, scored, strict=True):
            found[number] = row
    rows: np.ndarray = torch.stack([row for row in found if row is not None]).numpy()
    return rows


def padded(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None]:
    """Waveforms with zeros behind them (B, S), and what is padding (B, S); None where nothing is."""
    sizes = torch.tensor([waveform.size for waveform in waveforms])
    rows = torch.zeros(len(waveforms), int(sizes.max()))
    for row, waveform in zip(rows, waveforms, strict=True):
        row[: waveform.size] = torch.from_numpy(waveform)
    padding = torch.arange(rows.shape[1]).unsqueeze(0) >= sizes.unsqueeze(1)
    return rows, padding if bool(padding.any()) else None


def by_length(sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of clips of like length, longest first."""
    batches: list[list[int]] = []
    for number in np.argsort([-size for size in sizes], kind="stable").tolist():
        if not batches or sizes[batches[-1][0]] * (len(batches[-1]) + 1) > BATCH_SECONDS * SAMPLE_RATE:
            batches.append([])
        batches[-1].append(number)
    return batches
