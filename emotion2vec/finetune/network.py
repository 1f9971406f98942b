"""Encoder and heads as they are fine-tuned: waveforms in, scores out, with what they are compared with beside them.

B: utterances. S: samples. K: scores. n: utterances that have a head's target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.finetune.adapters import Adapters
from emotion2vec.finetune.aims import Asked
from emotion2vec.finetune.reversal import reverse
from emotion2vec.finetune.strategy import freeze
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import Head
from emotion2vec.model.speech import SpeechEncoder


@dataclass
class Answers:
    """What a head says of the utterances of a micro-batch that have its target.

    Attributes:
        scores: (n, K) float32.
        targets: (n,) or (n, K), what they are compared with.
        weights: (n,) what the utterances count.
    """

    scores: Tensor
    targets: Tensor
    weights: Tensor


@dataclass
class TuneOutput:
    """What one micro-batch contributes to an update.

    Attributes:
        answers: of each head, by its target.
        number: place of the micro-batch in its update on this process.
    """

    answers: dict[str, Answers]
    number: int


class TunedNetwork(nn.Module):
    """A speech encoder with its heads, and heads that are no part of it, behind gradient reversal.

    Parts that do not learn stay in eval mode, so that they are the same every time.

    Args:
        encoder: with its heads.
        frozen: how many of its parts, from the bottom, do not learn.
        opposed: heads whose targets are unlearnt.
        adapters: what learns of the other parts, in place of all.

    Attributes:
        keeps: whether `forward` takes what `below` gave, and not waveforms.
    """

    def __init__(
        self, encoder: SpeechEncoder, frozen: int, adapters: Adapters | None = None, opposed: Sequence[Head] = ()
    ):
        super().__init__()
        self.encoder = encoder
        self.opposed = nn.ModuleList(opposed)
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

    @property
    def heads(self) -> dict[str, Head]:
        """All heads by their targets, the model's first."""
        return self.encoder.heads() | {head.target: head for head in self.opposed if isinstance(head, Head)}

    def forward(
        self,
        waveforms: Tensor,
        padding: Tensor | None,
        asked: Mapping[str, Asked],
        reversals: Mapping[str, float],
        number: int,
    ) -> TuneOutput:
        """Score a micro-batch.

        Args:
            waveforms: (B, S) as the encoder wants to hear them; or (B, T, D), see `keeps`.
            padding: (B, S) or (B, T), True = padding; None where nothing is padded.
            asked: of each head.
            reversals: λ of heads behind gradient reversal.
            number: passed on.
        """
        run = self.above if self.keeps else self.scores
        scores = run(waveforms, padding, reversals)
        answers = {
            name: Answers(scores[name].index_select(0, one.rows), one.targets, one.weights)
            for name, one in asked.items()
        }
        return TuneOutput(answers, number)

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
        if any(head.reads_layers for head in self.heads.values()) or self._blocks < 1:
            return False
        if self._blocks == len(encoder.blocks):
            return True
        return isinstance(encoder, Emotion2vec) and (encoder.config.tokens, encoder.config.positions) == (0, "sinusoid")

    def below(self, waveforms: Tensor, padding: Tensor | None) -> Tensor:
        """What frozen blocks say (B, T, D) of waveforms (B, S)."""
        encoded = self.encoder(waveforms, padding)
        return encoded.frames if self._blocks == len(self.encoder.blocks) else encoded.layers[self._blocks - 1]

    def above(
        self, x: Tensor, padding: Tensor | None, reversals: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Scores (B, K) float32 by each head of what `below` gave (B, T, D), with padding (B, T)."""
        first = self._blocks
        if first < len(self.encoder.blocks):
            assert isinstance(self.encoder, Emotion2vec)  # see `can_keep`
            x = self.encoder.backbone(
                x, padding=padding, skip_blocks=range(first), before={first: lambda entered: x}
            ).x  # (B, T, D)
        return self._by(dict.fromkeys(self.heads, x), padding, reversals)

    def scores(
        self, waveforms: Tensor, padding: Tensor | None, reversals: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Scores (B, K) float32 by each head of waveforms (B, S)."""
        encoded = self.encoder(waveforms, padding)
        read = {name: encoded.read_by(head) for name, head in self.heads.items()}
        return self._by(read, encoded.padding, reversals)

    def _by(
        self, read: Mapping[str, Tensor], padding: Tensor | None, reversals: Mapping[str, float] | None
    ) -> dict[str, Tensor]:
        """Scores by each head of the frames that it reads ([L,] T, D), those of some with their gradients reversed."""
        found = {}
        for name, head in self.heads.items():
            factor = (reversals or {}).get(name)
            frames = read[name] if factor is None else reverse(read[name], factor)
            found[name] = head(frames, padding).to(torch.float32)
        return found
