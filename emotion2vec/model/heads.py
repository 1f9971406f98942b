"""The classification head: emotions from an utterance's mean frame.

B: utterances. D: model width. C: labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emotion2vec.errors import ConfigError

UNUSED = "unuse"
"""Labels that start with this hold a place in the head and get no probability (FunASR's convention)."""


class Head(nn.Linear):
    """One Linear layer over the mean of an utterance's frames, as FunASR's emotion2vec+ models have it.

    Raises:
        ConfigError: there is no label that may get a probability, or one is there twice.
    """

    def __init__(self, width: int, labels: Sequence[str]):
        self.labels = tuple(labels)
        used = [label for label in self.labels if not label.startswith(UNUSED)]
        if not used or len(set(used)) < len(used):
            raise ConfigError(f"the labels of a head are {', '.join(self.labels) or 'none'}, expected different ones")
        super().__init__(width, len(self.labels))

    def scores(self, pooled: Tensor) -> Tensor:
        """Probabilities (B, C) of pooled utterances (B, D), float32; unused labels have 0."""
        logits = self(pooled).float()
        unused = torch.tensor([label.startswith(UNUSED) for label in self.labels], device=logits.device)
        return logits.masked_fill(unused, float("-inf")).softmax(dim=1)  # (B, C)

    def by_label(self, pooled: Tensor) -> list[dict[str, float]]:
        """Probabilities of pooled utterances (B, D) by label, unused labels left out."""
        return [
            {label: score for label, score in zip(self.labels, row, strict=True) if not label.startswith(UNUSED)}
            for row in self.scores(pooled).tolist()
        ]
