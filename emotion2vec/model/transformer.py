"""Transformer blocks, post-norm or pre-norm.

B: sequences. L: sequence length (tokens and frames). D: model width. H: heads.
"""

from __future__ import annotations

from torch import Tensor, nn

from emotion2vec.model.attention import Bias, attend
from emotion2vec.model.dropout import dropout
from emotion2vec.model.linear import Linear


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, attention_dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = attention_dropout
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, bias: Bias, *, add: Tensor | None = None) -> Tensor:
        """Attend within (B, L, D), and add (B, L, D) if asked."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (B, L, 3, H, D/H)
        attended = attend(qkv, bias, self.dropout if self.training else 0.0)  # (B, L, H, D/H)
        return self.proj(attended.flatten(2), add=add)  # (B, L, D)


class Block(nn.Module):
    """Attention and feed-forward layer with residuals.

    A layer norm follows each residual (post-norm, data2vec 2.0's block for audio), or precedes attention and
    feed-forward layer (pre-norm, Whisper's).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        ffn_width: int,
        dropout: float,
        attention_dropout: float,
        *,
        pre_norm: bool = False,
    ):
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(width, heads, attention_dropout)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = Linear(width, ffn_width)
        self.fc2 = Linear(ffn_width, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = dropout

    def forward(self, x: Tensor, bias: Bias) -> tuple[Tensor, Tensor]:
        """Return the block's output and its FFN's output before the final residual and norm, both (B, L, D)."""
        seen = self.norm1(x) if self.pre_norm else x
        early = self.fc1.is_packed  # GELU and the residual belong to the product that does them at the least cost
        if early and not self.training:
            x = self.attention(seen, bias, add=x)
        else:
            x = x + dropout(self.attention(seen, bias), self.dropout, self.training)
        x = x if self.pre_norm else self.norm1(x)
        seen = self.norm2(x) if self.pre_norm else x
        ffn = self.fc2(self.fc1(seen, gelu=early), gelu_first=not early)
        x = x + dropout(ffn, self.dropout, self.training)
        return (x if self.pre_norm else self.norm2(x)), ffn
