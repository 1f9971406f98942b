"""Heads that do more with frames than to average them, and one that tells classes apart by angles.

B: utterances. L: layers. T: frames. D: channels of a frame. P: channels of a pooled utterance. H: hidden width.
K: scores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion2vec.model.attention import Bias
from emotion2vec.model.heads import Head, PooledHead, masked_mean
from emotion2vec.model.seeded import draw_linear, seeded_linear
from emotion2vec.model.shapes import Undrawn
from emotion2vec.model.transformer import Block

SHARPNESS = 30.0
"""What cosines are multiplied by to be logits (s of Wang et al., 2018)."""

LEAST_VARIANCE = 1e-6
"""Below it a deviation has no useful gradient."""


def _attended(energies: Tensor, padding: Tensor | None) -> Tensor:
    """Shares (B, T) of frames by their energies (B, T, 1), none of padding (B, T)."""
    energies = energies.squeeze(2)
    if padding is not None:
        energies = energies.masked_fill(padding, float("-inf"))
    return energies.softmax(dim=1)


class Attention(Head):
    """Frames weighed by softmax(v · tanh(W x)), then Linear D → K (self-attentive pooling; Lin et al., 2017)."""

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.project = seeded_linear(channels, hidden, generator)
        self.query = seeded_linear(hidden, 1, generator)
        self.output = seeded_linear(channels, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        frames = self.standardized(frames)
        shares = _attended(self.query(torch.tanh(self.project(frames))), padding)  # (B, T)
        return torch.einsum("bt,btd->bd", shares, frames)


def attentive_statistics(frames: Tensor, energy: Tensor, padding: Tensor | None) -> Tensor:
    """Mean and deviation (B, 2 D) of frames (B, T, D) weighed by the softmax of their energies (B, T, 1)."""
    shares = _attended(energy, padding)  # (B, T)
    mean = torch.einsum("bt,btd->bd", shares, frames)
    variance = torch.einsum("bt,btd->bd", shares, (frames - mean.unsqueeze(1)).square())
    return torch.cat([mean, variance.clamp_min(LEAST_VARIANCE).sqrt()], dim=1)


class AttentiveStatistics(Head):
    """Mean and deviation of frames weighed by softmax(v · tanh(W x)), then Linear 2 D → K (Okabe et al., 2018)."""

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.project = seeded_linear(channels, hidden, generator)
        self.query = seeded_linear(hidden, 1, generator)
        self.output = seeded_linear(2 * channels, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        frames = self.standardized(frames)
        return attentive_statistics(frames, self.query(torch.tanh(self.project(frames))), padding)


class Convolutions(Head):
    """Two convolutions of one frame, D → H → H, with ReLU, the mean over time, Linear H → H, ReLU, Linear H → K.

    What Pepino et al. (2021) lay on wav2vec 2.0, without their dropout.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.first = seeded_linear(channels, hidden, generator)
        self.second = seeded_linear(hidden, hidden, generator)
        self.hidden = seeded_linear(hidden, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        seen = self.second(self.first(self.standardized(frames)).relu()).relu()  # (B, T, H)
        embedded: Tensor = self.hidden(masked_mean(seen, padding)).relu()
        return embedded


class LayerConvolutions(Convolutions):
    """`Convolutions` on a weighted sum of all layers, with weights that are learned; reads frames (B, L, T, D)."""

    reads_layers = True

    def __init__(self, layers: int, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__(channels, hidden, outputs, generator)
        self.mixing = nn.Parameter(torch.zeros(layers))

    def standardized(self, x: Tensor) -> Tensor:
        """The sum (B, T, D) of layers (B, L, T, D), each standardized where the head does."""
        if self.shift is not None and self.scale is not None:
            x = (x - self.shift.unsqueeze(-2)) / self.scale.unsqueeze(-2)
        return torch.einsum("l,bltd->btd", self.mixing.softmax(dim=0), x)


class TransformerLeg(Head):
    """Linear D → H, one pre-norm Transformer block, layer norm, the mean over time, Linear H → K.

    Without positions: an encoder's frames know their time. Without dropout, for which probes have no generator of their
    own.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.project = seeded_linear(channels, hidden, generator)
        with Undrawn():
            self.block = Block(hidden, 4 if hidden % 4 == 0 else 1, 2 * hidden, 0.0, 0.0, pre_norm=True)
        for layer in (self.block.attention.qkv, self.block.attention.proj, self.block.fc1, self.block.fc2):
            draw_linear(layer, generator)
        self.norm = nn.LayerNorm(hidden)
        self.output = seeded_linear(hidden, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        seen, _ = self.block(self.project(self.standardized(frames)), Bias(hidden=padding))  # (B, T, H)
        return masked_mean(self.norm(seen), padding)


class Angles(Head):
    """Tells classes apart by angles: the cosines of an embedding (B, H) with a direction for each, times `SHARPNESS`.

    Trained with a margin it is AM-Softmax (Wang et al., 2018; `tasks.class_losses.ClassLoss`).

    Attributes:
        directions: (K, H), of any length.
        gain: (K,) what scores are multiplied by, such as one over a temperature; None for nothing.
        offset: (K,) what is added to them then.
    """

    optional = (*Head.optional, "gain", "offset")
    gain: Tensor | None
    offset: Tensor | None

    def __init__(self, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.directions = nn.Parameter(seeded_linear(hidden, outputs, generator).weight.detach())  # (K, H)
        self.register_buffer("gain", None)
        self.register_buffer("offset", None)

    def of_embedded(self, embedded: Tensor) -> Tensor:
        """See `Head`."""
        directions = functional.normalize(self.directions, dim=1)
        scores = SHARPNESS * functional.linear(functional.normalize(embedded, dim=1), directions)
        return scores if self.gain is None or self.offset is None else scores * self.gain + self.offset

    @torch.no_grad()
    def rescale(self, mean: Tensor, scale: Tensor) -> None:
        """See `Head`; beside the directions, whose lengths say nothing."""
        gain, offset = self.gain, self.offset
        mean, scale = mean.to(self.directions), scale.to(self.directions)
        self.gain = scale if gain is None else gain * scale
        self.offset = mean if offset is None else offset * scale + mean


class Cosine(Angles, PooledHead):
    """Linear P → H of pooled utterances, then `Angles`."""

    def __init__(self, width: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        reading = seeded_linear(width, hidden, generator)
        super().__init__(hidden, outputs, generator)
        self.width = width
        self.hidden = reading

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """See `PooledHead`."""
        embedded: Tensor = self.hidden(self.standardized(pooled))
        return embedded


class AttentiveCosine(Angles):
    """Frames weighed by softmax(v · tanh(W x)), Linear D → H of their sum, then `Angles`."""

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        project, query = seeded_linear(channels, hidden, generator), seeded_linear(hidden, 1, generator)
        reading = seeded_linear(channels, hidden, generator)
        super().__init__(hidden, outputs, generator)
        self.project, self.query, self.hidden = project, query, reading

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        frames = self.standardized(frames)
        shares = _attended(self.query(torch.tanh(self.project(frames))), padding)  # (B, T)
        embedded: Tensor = self.hidden(torch.einsum("bt,btd->bd", shares, frames))
        return embedded
