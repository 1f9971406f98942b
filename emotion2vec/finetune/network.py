"""Encoder and head as they are fine-tuned: waveforms and labels in, losses and what is scored out.

B: utterances. S: samples. K: classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.tasks.class_losses import ClassLoss


@dataclass
class TuneOutput:
    """What one micro-batch contributes to an update.

    Attributes:
        loss: () sum of the clips' losses times their weights.
        scores: (B, K).
        labels: (B,).
    """

    loss: Tensor
    scores: Tensor
    labels: Tensor


class TunedNetwork(nn.Module):
    """A speech encoder with a head, and the loss on its scores.

    Parts that do not learn stay in eval mode, so that they are the same every time.

    Args:
        encoder: with its head.
        loss: of its scores.
    """

    def __init__(self, encoder: Emotion2vec, loss: ClassLoss):
        super().__init__()
        self.encoder = encoder
        self.loss = loss
        self.train()  # what was opened came in eval mode

    def train(self, mode: bool = True) -> TunedNetwork:
        """See `nn.Module`; what does not learn stays in eval mode."""
        super().train(mode)
        for part in self.encoder.parts():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.train(False)
        return self

    def forward(self, waveforms: Tensor, padding: Tensor | None, labels: Tensor, weights: Tensor) -> TuneOutput:
        """Compute the losses of a micro-batch.

        Args:
            waveforms: (B, S) as the encoder wants to hear them.
            padding: (B, S), True = padding; None where nothing is padded.
            labels: (B,) class numbers.
            weights: (B,) of the clips.
        """
        scores = self.scores(waveforms, padding)  # (B, K)
        return TuneOutput((self.loss.rows(scores, labels) * weights).sum(), scores, labels)

    def scores(self, waveforms: Tensor, padding: Tensor | None) -> Tensor:
        """Scores (B, K) float32 of waveforms (B, S)."""
        return self.encoder.scores(self.encoder(waveforms, padding)).to(torch.float32)
