"""Post-norm Transformer blocks with an additive attention bias.

B: sequences. L: sequence length (tokens and frames). D: model width. H: heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.model.linear import Linear


class Attention(nn.Module):
    """Multi-head self-attention whose scores, bias and softmax are float32 in any compute precision."""

    def __init__(self, width: int, heads: int, attention_dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = attention_dropout
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attend within (B, L, D) under `bias` (B or 1, H or 1, L, L); −inf in the bias hides a position."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, H, L, D/H)
        q, k, v = qkv.unbind(0)
        if not torch.is_grad_enabled() and not (self.training and self.dropout):
            return self.proj(self._fused(q, k, v, bias))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)  # (B, H, L, L)
        weights = torch.softmax(scores.float() + bias, dim=-1)
        weights = F.dropout(weights, self.dropout, self.training).to(v.dtype)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))  # (B, L, D)

    @staticmethod
    def _fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Attend without ever holding the scores in memory; PyTorch's kernels keep their sums in float32."""
        if q.device.type != "cpu":
            bias = bias.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)  # (B, L, D)


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

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output and its FFN's output before the final residual and norm, both (B, L, D)."""
        attended = F.dropout(self.attention(x, bias), self.dropout, self.training)
        x = self.norm1(x + attended)
        ffn = self.fc2(self.fc1(x, gelu=True))
        return self.norm2(x + F.dropout(ffn, self.dropout, self.training)), ffn
