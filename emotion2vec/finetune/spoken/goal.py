"""What the head beside the main one learns of what is said: a sequence of symbols, by CTC.

n: clips that have it. N: clips. T: frames. V: symbols, the blank first. U: symbols of the longest reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from emotion2vec.finetune.goals import Goal
from emotion2vec.model.config import SYMBOLS
from emotion2vec.tasks.sequences import ENDED, collapsed, ctc_losses, error_rate
from emotion2vec.training.metrics import exact


@dataclass(frozen=True)
class SequenceGoal(Goal):
    """A sequence of symbols of each clip; `names` are the blank and all symbols that train.

    Attributes:
        references: (U,) numbers of each clip's symbols, `ENDED` behind them; V of symbols that do not train.
    """

    task: ClassVar[str] = SYMBOLS
    main: ClassVar[str] = "PER"
    whole: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    references: Mapping[str, np.ndarray]

    def targets(self, ids: Sequence[str]) -> Tensor:
        """References (n, U) of clips."""
        if not ids:
            return torch.empty(0, 0, dtype=torch.long)
        return torch.from_numpy(np.stack([self.references[name] for name in ids]))

    def truth(self, name: str) -> np.ndarray:
        """See `Goal`."""
        return self.references[name]

    def loss(self, scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """See `Goal`: of each clip −log of its likelihood per symbol."""
        return (ctc_losses(scores, targets) * weights).sum() if len(targets) else scores.sum()

    def mixed(self, targets: Tensor, weights: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """See `Goal`: what two clips say at once is no sequence."""
        raise NotImplementedError

    def sums(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Nothing: an update's errors are not counted, which would hold up its next one."""
        return exact(scores.new_zeros(1))

    def metrics(self, sums: Tensor) -> dict[str, Tensor]:
        """See `sums`."""
        return {}

    def judge(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """PER of the best paths (N, T) of clips in percent: all edits per symbol of all references (N, U)."""
        found = [collapsed(path.astype(np.int64).tolist()) for path in scores]
        return {self.main: error_rate(zip(found, (row[row != ENDED].tolist() for row in truth), strict=True))}
