"""Heads that fuse what is heard with what is said: late, by concatenation, or by cross-attention.

A clip of which no text is known is told from its audio alone, which each head learns where training leaves texts out.

B: utterances. T: frames. D: channels of a frame. P: channels of a pooled utterance. U: tokens. E: channels of a token.
H: hidden width. K: scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.model.asking import Asking
from emotion2vec.model.frame_heads import attentive_statistics
from emotion2vec.model.heads import Head, masked_mean, pool
from emotion2vec.model.seeded import seeded_linear


@dataclass
class Told:
    """What is said in utterances, as a text encoder has it.

    Attributes:
        states: (B, U, E) float32.
        padding: (B, U), True behind the end of a text; all of an utterance of which no text is known.
    """

    states: Tensor
    padding: Tensor

    @property
    def known(self) -> Tensor:
        """(B, 1), 1 where there is a text and 0 where there is none."""
        return (~self.padding).any(dim=1, keepdim=True).to(self.states)

    def to(self, like: Tensor) -> Told:
        """The same on the device, and of the dtype, of a tensor."""
        return Told(self.states.to(like), self.padding.to(like.device))

    def mean(self) -> Tensor:
        """The mean over the tokens of each text (B, E), zeros where there is none."""
        hidden = self.padding & self.known.bool()  # all that there is, where all is padding
        return masked_mean(self.states, hidden) * self.known


class TextHead(Head):
    """A head that reads texts beside frames.

    Attributes:
        text_width: E.
    """

    reads_text = True
    text_width: int

    def forward(self, frames: Tensor, padding: Tensor | None = None, told: Told | None = None) -> Tensor:
        """Scores (B, K) of frames (B, T, D) with padding (B, T), and of texts where there are any."""
        return self.of_embedded(self.embed(frames, padding, told))

    def embed(self, frames: Tensor, padding: Tensor | None = None, told: Told | None = None) -> Tensor:
        """See `Head`; without texts those of no utterance are known."""
        if told is None:
            told = Told(
                frames.new_zeros(frames.shape[0], 1, self.text_width), frames.new_ones(frames.shape[0], 1).bool()
            )
        return self.fuse(self.standardized(frames), padding, told)

    def fuse(self, frames: Tensor, padding: Tensor | None, told: Told) -> Tensor:
        """What the last layer reads (B, ...) of standardized frames (B, T, D) and texts."""
        raise NotImplementedError


def answered(head: Head, frames: Tensor, padding: Tensor | None, told: Told | None) -> Tensor:
    """Scores of frames by any head, and of what is said by one that reads texts."""
    scores: Tensor = head(frames, padding, told) if head.reads_text else head(frames, padding)
    return scores


class LateFusion(TextHead):
    """Scores of the audio, Linear P → H, ReLU, Linear H → K, and of the text, E → H → K alike, averaged.

    The text counts w and the audio 1 − w, where w = σ of a learned number; without a text the audio is all.
    """

    def __init__(
        self, pooled: int, text: int, hidden: int, outputs: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.width, self.text_width = pooled, text
        self.hidden = seeded_linear(pooled, hidden, generator)
        self.reading = nn.Sequential(nn.LayerNorm(text), seeded_linear(text, hidden, generator), nn.ReLU())
        self.output, self.spoken = (seeded_linear(hidden, outputs, generator) for _ in range(2))
        self.share = nn.Parameter(torch.zeros(1))

    def fuse(self, frames: Tensor, padding: Tensor | None, told: Told) -> Tensor:
        """See `TextHead`: what both last layers read, and whether there is a text, (B, 2 H + 1)."""
        heard = self.hidden(pool(frames, padding, self.width)).relu()
        return torch.cat([heard, self.reading(told.mean()), told.known.to(heard)], dim=1)

    def of_embedded(self, embedded: Tensor) -> Tensor:
        """See `Head`."""
        hidden = self.output.in_features
        heard, said, known = embedded.split([hidden, hidden, 1], dim=1)
        share = known * self.share.sigmoid()
        scores: Tensor = (1 - share) * self.output(heard) + share * self.spoken(said)
        return scores

    @torch.no_grad()
    def rescale(self, mean: Tensor, scale: Tensor) -> None:
        """See `Head`: of both, so that their averages are too."""
        for last in (self.output, self.spoken):
            last.weight.mul_(scale.unsqueeze(1))
            last.bias.mul_(scale).add_(mean)


class Concatenation(TextHead):
    """Pooled audio beside the text's mean, or a learned vector for none, Linear P + E → H, ReLU, Linear H → K."""

    def __init__(
        self, pooled: int, text: int, hidden: int, outputs: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.width, self.text_width = pooled, text
        self.norm = nn.LayerNorm(text)
        self.absent = nn.Parameter(torch.zeros(text))
        self.hidden = seeded_linear(pooled + text, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def fuse(self, frames: Tensor, padding: Tensor | None, told: Told) -> Tensor:
        """See `TextHead`, (B, H)."""
        heard, known = pool(frames, padding, self.width), told.known
        said = known * self.norm(told.mean()) + (1 - known) * self.absent
        embedded: Tensor = self.hidden(torch.cat([heard, said.to(heard)], dim=1)).relu()
        return embedded


class CrossAttention(TextHead):
    """Every frame asks all tokens: c = LayerNorm(a + attention(a → text)), pooled attentively, 2 D → H, ReLU, H → K.

    a is a frame; where there is no text, a learned token stands for it.
    """

    def __init__(
        self, channels: int, text: int, hidden: int, outputs: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.text_width = text
        self.reading = nn.LayerNorm(text)
        self.absent = nn.Parameter(torch.zeros(text))
        self.asking = Asking(channels, text, generator)
        self.project = seeded_linear(channels, hidden, generator)
        self.query = seeded_linear(hidden, 1, generator)
        self.hidden = seeded_linear(2 * channels, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def fuse(self, frames: Tensor, padding: Tensor | None, told: Told) -> Tensor:
        """See `TextHead`, (B, H)."""
        absent = self.absent.expand(frames.shape[0], 1, -1)
        tokens = torch.cat([absent, self.reading(told.states)], dim=1).to(frames)  # (B, 1 + U, E)
        seen = torch.cat([~told.known.bool(), ~told.padding], dim=1)  # (B, 1 + U)
        fused = self.asking(frames, tokens, seen)  # (B, T, D)
        pooled = attentive_statistics(fused, self.query(torch.tanh(self.project(fused))), padding)
        embedded: Tensor = self.hidden(pooled).relu()
        return embedded
