"""Encoder and head as they are fine-tuned: waveforms in, scores out, with what they are compared with beside them.

B: utterances. S: samples. K: scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.finetune.strategy import freeze
from emotion2vec.model.encoder import Emotion2vec


@dataclass
class TuneOutput:
    """What one micro-batch contributes to an update.

    Attributes:
        scores: (B, K) float32.
        targets: (B,) or (B, K), what they are compared with.
        weights: (B,) what the utterances count.
        number: place of the micro-batch in its update on this process.
    """

    scores: Tensor
    targets: Tensor
    weights: Tensor
    number: int


class TunedNetwork(nn.Module):
    """A speech encoder with a head.

    Parts that do not learn stay in eval mode, so that they are the same every time.

    Args:
        encoder: with its head.
        frozen: how many of its parts, from the bottom, do not learn.
    """

    def __init__(self, encoder: Emotion2vec, frozen: int):
        super().__init__()
        self.encoder = encoder
        self.frozen = frozen
        freeze(encoder.parts(), frozen)
        self.train()  # what was opened came in eval mode

    def thaw(self, frozen: int) -> None:
        """Let so many parts, from the bottom, not learn from now on, and all others."""
        if frozen != self.frozen:
            self.frozen = frozen
            freeze(self.encoder.parts(), frozen)
            self.train(self.training)

    def train(self, mode: bool = True) -> TunedNetwork:
        """See `nn.Module`; what does not learn stays in eval mode."""
        super().train(mode)
        for part in self.encoder.parts()[: self.frozen]:
            part.train(False)
        return self

    def forward(
        self, waveforms: Tensor, padding: Tensor | None, targets: Tensor, weights: Tensor, number: int
    ) -> TuneOutput:
        """Score a micro-batch.

        Args:
            waveforms: (B, S) as the encoder wants to hear them.
            padding: (B, S), True = padding; None where nothing is padded.
            targets: (B,) or (B, K), passed on.
            weights: (B,), passed on.
            number: passed on.
        """
        return TuneOutput(self.scores(waveforms, padding), targets, weights, number)

    def scores(self, waveforms: Tensor, padding: Tensor | None) -> Tensor:
        """Scores (B, K) float32 of waveforms (B, S)."""
        return self.encoder.scores(self.encoder(waveforms, padding)).to(torch.float32)
