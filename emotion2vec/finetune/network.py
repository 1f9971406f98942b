"""Encoder and head as they are fine-tuned: waveforms in, scores out, with what they are compared with beside them.

B: utterances. S: samples. K: scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.finetune.adapters import Adapters
from emotion2vec.finetune.strategy import freeze
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.speech import SpeechEncoder


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
        adapters: what learns of the other parts, in place of all.

    Attributes:
        keeps: whether `forward` takes what `below` gave, and not waveforms.
    """

    def __init__(self, encoder: SpeechEncoder, frozen: int, adapters: Adapters | None = None):
        super().__init__()
        self.encoder = encoder
        self.frozen = frozen
        self.adapters = adapters
        self.keeps = False
        freeze(encoder.parts(), frozen, adapters)
        self.train()  # what was opened came in eval mode

    def thaw(self, frozen: int) -> None:
        """Let so many parts, from the bottom, not learn from now on, and all others."""
        if frozen != self.frozen:
            self.frozen = frozen
            freeze(self.encoder.parts(), frozen, self.adapters)
            self.train(self.training)

    def train(self, mode: bool = True) -> TunedNetwork:
        """See `nn.Module`; what does not learn stays in eval mode."""
        super().train(mode)
        for part in self.encoder.parts()[: self.frozen]:
            part.train(False)
        for module in () if self.adapters is None else self.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # a Conformer's
                module.train(False)
        return self

    def forward(
        self, waveforms: Tensor, padding: Tensor | None, targets: Tensor, weights: Tensor, number: int
    ) -> TuneOutput:
        """Score a micro-batch.

        Args:
            waveforms: (B, S) as the encoder wants to hear them; or (B, T, D), see `keeps`.
            padding: (B, S) or (B, T), True = padding; None where nothing is padded.
            targets: (B,) or (B, K), passed on.
            weights: (B,), passed on.
            number: passed on.
        """
        scores = self.above(waveforms, padding) if self.keeps else self.scores(waveforms, padding)
        return TuneOutput(scores, targets, weights, number)

    @property
    def _blocks(self) -> int:
        """Blocks that are frozen."""
        return self.frozen - len(self.encoder.parts()) + len(self.encoder.blocks)

    @property
    def can_keep(self) -> bool:
        """Whether `below` and `above` are the two parts of `scores`: some block is frozen, and no head reads below it.

        Utterance tokens would have to be kept too, where blocks above learn; and blocks of others' encoders do not run
        by themselves.
        """
        encoder = self.encoder
        if encoder.head is None or encoder.head.reads_layers or self._blocks < 1:
            return False
        if self._blocks == len(encoder.blocks):
            return True
        return isinstance(encoder, Emotion2vec) and (encoder.config.tokens, encoder.config.positions) == (0, "sinusoid")

    def below(self, waveforms: Tensor, padding: Tensor | None) -> Tensor:
        """What frozen blocks say (B, T, D) of waveforms (B, S)."""
        encoded = self.encoder(waveforms, padding)
        return encoded.frames if self._blocks == len(self.encoder.blocks) else encoded.layers[self._blocks - 1]

    def above(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Scores (B, K) float32 of what `below` gave (B, T, D), with padding (B, T)."""
        head, first = self.encoder.head, self._blocks
        assert head is not None
        if first < len(self.encoder.blocks):
            assert isinstance(self.encoder, Emotion2vec)  # see `can_keep`
            x = self.encoder.backbone(
                x, padding=padding, skip_blocks=range(first), before={first: lambda entered: x}
            ).x  # (B, T, D)
        scores: Tensor = head(x, padding)
        return scores.to(torch.float32)

    def scores(self, waveforms: Tensor, padding: Tensor | None) -> Tensor:
        """Scores (B, K) float32 of waveforms (B, S)."""
        return self.encoder.scores(self.encoder(waveforms, padding)).to(torch.float32)
