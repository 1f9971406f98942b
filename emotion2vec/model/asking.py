"""Cross-attention: every frame asks all of another sequence, and keeps what it was.

B: utterances. T: frames. D: channels of a frame. U: entries of what is asked. E: their channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion2vec.model.seeded import seeded_linear

ATTENTION_HEADS = 8
"""Of the attention, where they divide the channels."""


class Asking(nn.Module):
    """LayerNorm(a + attention(a → x)) of frames a and what is asked, x.

    Args:
        channels: D.
        asked: E.
        generator: draws the weights.
    """

    def __init__(self, channels: int, asked: int, generator: torch.Generator | None = None):
        super().__init__()
        self.heads = ATTENTION_HEADS if channels % ATTENTION_HEADS == 0 else 1
        self.query = seeded_linear(channels, channels, generator)
        self.key, self.value = (seeded_linear(asked, channels, generator) for _ in range(2))
        self.attended = seeded_linear(channels, channels, generator)
        self.norm = nn.LayerNorm(channels)

    def forward(self, frames: Tensor, asked: Tensor, seen: Tensor | None) -> Tensor:
        """What frames (B, T, D) become by asking (B, U, E), of which some may be seen (B, U); None for all."""
        q, k, v = (
            of(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, T or U, D / heads)
            for of, x in ((self.query, frames), (self.key, asked), (self.value, asked))
        )
        mask = None if seen is None else seen[:, None, None, :]  # (B, 1, 1, U)
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        told: Tensor = self.norm(frames + self.attended(found))  # (B, T, D)
        return told
