"""Post-norm Transformer blocks under ALiBi.

B: sequences. L: sequence length (tokens and frames). D: model width. H: heads.
"""

from __future__ import annotations

from torch import Tensor, nn

from emotion2vec.model.attention import Alibi, attend
from emotion2vec.model.dropout import dropout
from emotion2vec.model.linear import Linear


class Attention(nn.Module):
    """Multi-head self-attention under ALiBi."""

    def __init__(self, width: int, heads: int, attention_dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = attention_dropout
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, alibi: Alibi, *, add: Tensor | None = None) -> Tensor:
        """Attend within (B, L, D), and add (B, L, D) if asked."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (B, L, 3, H, D/H)
        attended = attend(qkv, alibi, self.dropout if self.training else 0.0)  # (B, L, H, D/H)
        return self.proj(attended.flatten(2), add=add)  # (B, L, D)


class Block(nn.Module):
    """Attention and feed-forward layer, each with residual and then layer norm (data2vec 2.0's block for audio)."""

    def __init__(self, width: int, heads: int, ffn_width: int, dropout: float, attention_dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, attention_dropout)
        self.norm1 = nn.LayerNorm(width)
        self.fc1 = Linear(width, ffn_width)
        self.fc2 = Linear(ffn_width, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = dropout

    def forward(self, x: Tensor, alibi: Alibi) -> tuple[Tensor, Tensor]:
        """Return the block's output and its FFN's output before the final residual and norm, both (B, L, D)."""
        early = self.fc1.is_packed  # GELU and the residual belong to the product that does them at the least cost
        if early and not self.training:
            x = self.norm1(self.attention(x, alibi, add=x))
        else:
            x = self.norm1(x + dropout(self.attention(x, alibi), self.dropout, self.training))
        ffn = self.fc2(self.fc1(x, gelu=early), gelu_first=not early)
        return self.norm2(x + dropout(ffn, self.dropout, self.training)), ffn
