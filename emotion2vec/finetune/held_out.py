"""Held-out speakers: their whole clips are scored, and the best checkpoint is the one that scores best.

N: clips. B: clips of a batch. S: samples. K: scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from emotion2vec.checkpoint.text import Texts
from emotion2vec.corpora.faults import examples
from emotion2vec.errors import TrainingError
from emotion2vec.finetune.aims import MAIN, Aim, named
from emotion2vec.finetune.goals import Goal
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.scoring import keep, score_kept, score_waveforms
from emotion2vec.finetune.texts import telling
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.strategy import forward_method

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Clip:
    """A decoded clip.

    Attributes:
        name: for messages.
        waveform: (S,) as the encoder wants to hear it.
        truths: what it is judged by, see `Goal`, by the names of the aims whose target it has.
        corpus: where it comes from; empty where there is one corpus.
        text: what is said, where that is known.
    """

    name: str
    waveform: np.ndarray
    truths: Mapping[str, np.ndarray]
    corpus: str
    text: str | None = None


def judged(aims: Mapping[str, Aim], scores: Mapping[str, np.ndarray], clips: Sequence[Clip]) -> dict[str, float]:
    """Metrics of each head's scores (N, K) of clips that have its target, those of others than the main with its name.

    `score` is the main goal's main metric and, where clips are few enough for ties, a hair of the loss.
    """
    metrics: dict[str, float] = {}
    for name, found in scores.items():
        rows = [row for row, clip in enumerate(clips) if name in clip.truths]
        if rows:
            own = _judged(name, aims[name].goal, found[rows], [clips[row] for row in rows])
            metrics |= {named(name, metric): value for metric, value in own.items()}
    main = metrics[aims[MAIN].goal.main]
    return {**metrics, "score": main - 1e-3 * metrics["loss"]}


def _judged(aim: str, goal: Goal, scores: np.ndarray, clips: Sequence[Clip]) -> dict[str, float]:
    """Metrics of scores (N, K) of clips; of several corpora the means, and the main one of each as `UA_NAME`."""
    names, truth = np.array([clip.corpus for clip in clips]), np.stack([clip.truths[aim] for clip in clips])
    found = {name: goal.judge(scores[names == name], truth[names == name]) for name in sorted(set(names.tolist()))}
    means = {key: float(np.mean([one[key] for one in found.values()])) for key in next(iter(found.values()))}
    each = {f"{goal.main}_{name}": one[goal.main] for name, one in found.items()}
    return means | (each if len(found) > 1 else {})


class HeldOutSpeakers:
    """Clips of held-out speakers, decoded once and kept in memory, shared out over the processes.

    Where weights are sharded, which all processes put together at once, each of them scores all clips.

    Args:
        aims: what they are judged by.
        clips: all of them, in the same order on every process.
        ranks: the processes.
        every: updates between validations.
        last: the last update, which is validated too.
        texts: what an encoder says of texts; None where no head reads them.
    """

    def __init__(
        self,
        aims: Mapping[str, Aim],
        clips: Sequence[Clip],
        ranks: Ranks,
        *,
        every: int,
        last: int,
        texts: Texts | None = None,
    ):
        self.aims = aims
        self.clips = clips
        self.ranks = ranks
        self.texts = texts
        self.every = every
        self.last = last
        self._kept: list[Tensor] = []

    def due(self, update: int) -> bool:
        """See `emotion2vec.training.validation.HeldOut`."""
        return update % self.every == 0 or update == self.last

    def losses(self, network: nn.Module, fabric: Fabric) -> dict[str, float]:
        """See `emotion2vec.training.validation.HeldOut`. TrainingError: scores are not finite."""
        tuned: TunedNetwork = network.module  # type: ignore[assignment]
        together = all([forward_method(tuned, name) for name in ("scores", "below", "above")])
        mine = list(range(len(self.clips)) if together else range(self.ranks.rank, len(self.clips), self.ranks.size))
        rows = self._judge(network, [self.clips[number] for number in mine], fabric)
        everybody = [(mine, rows)] if together else self.ranks.gather((mine, rows))
        order = np.argsort(np.concatenate([np.array(numbers) for numbers, _ in everybody]), kind="stable")
        whole = {name: np.concatenate([found[name] for _, found in everybody])[order] for name in rows}
        finite = np.all([np.isfinite(scores).all(axis=1) for scores in whole.values()], axis=0)  # (N,)
        if bad := [clip.name for clip, good in zip(self.clips, finite, strict=True) if not good]:
            raise TrainingError(
                f"validation: scores of {len(bad)} of {len(finite)} held-out clips are not finite; the last checkpoint "
                f"is intact. They are of {examples(bad)}. A lower optim.lr or optim.encoder_lr, optim.clip_norm or "
                "run.precision=fp32 may help."
            )
        return {f"validation_{name}": value for name, value in judged(self.aims, whole, self.clips).items()}

    def _judge(self, network: nn.Module, clips: Sequence[Clip], fabric: Fabric) -> dict[str, np.ndarray]:
        """Scores (N, K) by each head of clips, whole, in batches of like length, without dropout."""
        tuned: TunedNetwork = network.module  # type: ignore[assignment]
        network.eval()
        with fabric.autocast():
            waveforms, told = [clip.waveform for clip in clips], telling(self.texts, [clip.text for clip in clips])
            if tuned.keeps:  # what is below does not change from one validation to the next
                self._kept = self._kept or keep(tuned, waveforms, fabric.device)
                rows = score_kept(tuned, self._kept, fabric.device, told)
            else:
                rows = score_waveforms(tuned.scores, waveforms, fabric.device, told)
        network.train()
        return rows
