"""A head that lets what lower blocks hear ask what upper blocks understand, and one that names a symbol of each frame.

Both read all layers, of which they learn a sum over a group of their own.

B: utterances. L: layers. G: layers of a group. T: frames. D: channels of a frame. H: hidden width. K: scores.
V: symbols, the blank first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emotion2vec.model.asking import Asking
from emotion2vec.model.frame_heads import attentive_statistics
from emotion2vec.model.heads import Head
from emotion2vec.model.seeded import seeded_linear

NEVER = -1e4
"""Score of what cannot be: finite, so that losses and their gradients are."""


class LayerReader(Head):
    """A head that reads frames of all layers (B, L, T, D), each standardized where the head does."""

    reads_layers = True

    def standardized(self, x: Tensor) -> Tensor:
        """Frames (B, L, T, D), standardized by layer and channel."""
        if self.shift is None or self.scale is None:
            return x
        return (x - self.shift.unsqueeze(-2)) / self.scale.unsqueeze(-2)


def group_sum(layers: Tensor, group: Sequence[int], mixing: Tensor) -> Tensor:
    """The sum (B, T, D) of some of the layers (B, L, T, D), by softmax weights of `mixing` (G,)."""
    return torch.einsum("g,bgtd->btd", mixing.softmax(dim=0), layers[:, list(group)])


class Fused(LayerReader):
    """Acoustic and semantic features, fused by cross-attention and a gate (after Li et al., 2024).

    a is the learned sum of the lower group, s that of the upper one. c = LayerNorm(a + attention(a → s)), where every
    acoustic frame asks all semantic ones; g = σ(W [a; c]); f = g · a + (1 − g) · c. Then the mean and the deviation of
    f, weighed by softmax(v · tanh(W f)), Linear 2 D → H, ReLU, Linear H → K.

    Args:
        groups: places of the acoustic and of the semantic layers.
        channels: D.
        hidden: H.
        outputs: K.
        generator: draws the weights.
    """

    def __init__(
        self,
        groups: tuple[Sequence[int], Sequence[int]],
        channels: int,
        hidden: int,
        outputs: int,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.groups = groups
        lower, upper = groups
        self.acoustic, self.semantic = nn.Parameter(torch.zeros(len(lower))), nn.Parameter(torch.zeros(len(upper)))
        self.asking = Asking(channels, channels, generator)
        self.gate = seeded_linear(2 * channels, channels, generator)
        self.project = seeded_linear(channels, hidden, generator)
        self.query = seeded_linear(hidden, 1, generator)
        self.hidden = seeded_linear(2 * channels, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        fused = self.fuse(self.standardized(frames), padding)
        pooled = attentive_statistics(fused, self.query(torch.tanh(self.project(fused))), padding)
        embedded: Tensor = self.hidden(pooled).relu()
        return embedded

    def fuse(self, layers: Tensor, padding: Tensor | None) -> Tensor:
        """Fused frames f (B, T, D) of layers (B, L, T, D), of which no real one depends on padding (B, T)."""
        acoustic = group_sum(layers, self.groups[0], self.acoustic)
        semantic = group_sum(layers, self.groups[1], self.semantic)
        asked = self.asking(acoustic, semantic, None if padding is None else ~padding)  # (B, T, D)
        gate = self.gate(torch.cat([acoustic, asked], dim=2)).sigmoid()
        return gate * acoustic + (1 - gate) * asked


class FrameSymbols(LayerReader):
    """Linear D → V on each frame of a learned sum over a group of layers, for CTC (Graves et al., 2006).

    Called like other heads, it gives the best path: the number of each frame's most probable symbol (B, T), that of the
    blank in padding. Frames of padding are certain to be blank, so that a clip's likelihood under CTC is the same with
    padding as without, and no lengths are needed.

    Args:
        group: places of the layers.
        channels: D.
        outputs: V.
        generator: draws the weights.
    """

    def __init__(self, group: Sequence[int], channels: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.group = group
        self.mixing = nn.Parameter(torch.zeros(len(group)))
        self.output = seeded_linear(channels, outputs, generator)

    def forward(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See the class."""
        return self.embed(frames, padding).argmax(dim=2)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) float32 of layers (B, L, T, D)."""
        logits = self.output(group_sum(self.standardized(frames), self.group, self.mixing)).float()
        if padding is None:
            return logits
        blank = torch.full_like(logits[0, 0], NEVER)
        blank[0] = 0.0
        return torch.where(padding.unsqueeze(2), blank, logits)

    def of_embedded(self, embedded: Tensor) -> Tensor:
        """Logits as they are."""
        return embedded
