"""Self-attention, under ALiBi or without a bias, in the form that each device runs best.

B: sequences. L: sequence length (tokens and frames). H: heads. E: width of a head (D / H).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from emotion2vec.model.dropout import draw_kept, dropout

NEGLIGIBLE = 1e-18
"""Attention weights below this are taken as 0 in training on a CPU, where nothing is padded.

They are lost in float32 sums anyway, but the distant frames of ALiBi's steep heads have weights so small that they are
subnormal numbers, which a CPU multiplies many times slower than others.
"""
CACHED_SCORES = 2**18
"""Scores that are worked on at once on a CPU: in float32 they fill half of a core's second-level cache of 2 MB."""


@dataclass
class Bias:
    """What is added to the scores of attention: ALiBi's `−slope · |i − j|` if any, and −inf where padding is.

    Attributes:
        distance: (B or 1, L, L) float32 `|i − j|`, zero to and from utterance tokens; None without ALiBi.
        slopes: (H,) with the learned scale multiplied in; None without ALiBi.
        hidden: (B, L), True = no position sees it; None when nothing is hidden.
    """

    distance: Tensor | None = None
    slopes: Tensor | None = None
    hidden: Tensor | None = None

    @cached_property
    def alibi(self) -> Tensor | None:
        """The bias of every head alone, (B or 1, H, L, L) float32; ALiBi is kept as one distance for all heads."""
        if self.distance is None or self.slopes is None:
            return None
        return -self.slopes.float().view(1, -1, 1, 1) * self.distance.unsqueeze(1)

    @cached_property
    def dense(self) -> Tensor | None:
        """All that is added, (B or 1, H or 1, L, L) float32, made once for all layers; None where nothing is."""
        if self.hidden is None:
            return self.alibi
        hidden = self.hidden[:, None, None, :]  # (B, 1, 1, L)
        bias = self.alibi
        if bias is None:
            bias = torch.zeros(1, 1, hidden.shape[3], hidden.shape[3], device=hidden.device)
        return bias.masked_fill(hidden, float("-inf"))


def attend(qkv: Tensor, bias: Bias, probability: float) -> Tensor:
    """Softmax attention whose scores, bias and softmax are float32 in any compute precision, with one exception.

    Without gradients on a GPU the bias is rounded to the compute precision, which PyTorch's fused kernels there ask
    for; in bfloat16 that moves outputs by a quarter of what its other roundings do (`tests/model/test_products.py`).

    Args:
        qkv: (B, L, 3, H, E) queries, keys and values.
        bias: what is added to the scores.
        probability: of dropping an attention weight; 0 outside of training.

    Returns:
        (B, L, H, E).
    """
    if not torch.is_grad_enabled() and not probability:
        return _fused(qkv, bias)
    if qkv.device.type == "cpu" and bias.hidden is None and not torch.compiler.is_compiling():
        return CachedAttention.apply(qkv, bias.distance, bias.slopes, probability)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, L, E) each
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)  # (B, H, L, L)
    if bias.hidden is None and bias.distance is not None and bias.slopes is not None:
        # The bias is made where it is used: a compiler fuses it with the softmax.
        scores = scores.float() - bias.slopes.float().view(1, -1, 1, 1) * bias.distance.unsqueeze(1)
    else:
        scores = scores.float() if bias.dense is None else scores.float() + bias.dense
    weights = dropout(torch.softmax(scores, dim=-1), probability)
    return (weights.to(v.dtype) @ v).transpose(1, 2)  # (B, L, H, E)


def _fused(qkv: Tensor, bias: Bias) -> Tensor:
    """Attend without ever holding the scores in memory; PyTorch's kernels keep their sums in float32, see `attend`."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, L, E) each
    added = bias.dense
    if added is not None and (qkv.device.type != "cpu" or qkv.dtype == torch.float64):
        added = added.to(qkv.dtype)  # the CPU's kernel adds float32 to float64 wrongly, and says nothing
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=added).transpose(1, 2)  # (B, L, H, E)
    # A traced graph must not rely on the layout of this machine's kernel.
    return attended.clone(memory_format=torch.contiguous_format) if torch.compiler.is_compiling() else attended


class CachedAttention(torch.autograd.Function):
    """Attention with gradients on a CPU, a few heads at a time, so that their scores never leave the cache.

    The backward pass computes the weights anew, as FlashAttention does (Dao et al. 2022); of the (B, H, L, L) arrays
    only which weights were dropped is kept, one byte each.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, qkv: Tensor, distance: Tensor | None, slopes: Tensor | None, probability: float
    ) -> Tensor:
        batch, length, _, heads, _ = qkv.shape
        out = qkv.new_empty(batch, length, heads, qkv.shape[4])
        kept, factor = None, 1.0
        if probability:
            kept, factor = draw_kept((batch, heads, length, length), probability)
        for b, some in _chunks(batch, heads, length):
            q, k, v = qkv[b, :, :, some].permute(1, 2, 0, 3).unbind(0)  # (H', L, E) each
            weights = _weights(q, k, *_of_heads(distance, slopes, b, some))  # (H', L, L)
            if kept is not None:
                weights.mul_(kept[b, some]).mul_(factor)
            out[b, :, some] = (weights.to(v.dtype) @ v).transpose(0, 1)
        ctx.save_for_backward(qkv, distance, slopes, kept)
        ctx.factor = factor
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None, None]:  # noqa: D102
        qkv, distance, slopes, kept = ctx.saved_tensors
        batch, length, _, heads, width = qkv.shape
        grad_qkv = torch.empty_like(qkv)
        grad_slopes = None if slopes is None else torch.zeros_like(slopes)
        for b, some in _chunks(batch, heads, length):
            q, k, v = qkv[b, :, :, some].permute(1, 2, 0, 3).unbind(0)  # (H', L, E) each
            g = grad[b, :, some].transpose(0, 1).to(v.dtype)  # (H', L, E)
            apart, steep = _of_heads(distance, slopes, b, some)
            weights = _weights(q, k, apart, steep)  # (H', L, L)
            grad_weights = (g @ v.transpose(1, 2)).float()
            used = weights
            if kept is not None:
                mask = kept[b, some]
                used = (weights * mask).mul_(ctx.factor)
                grad_weights.mul_(mask).mul_(ctx.factor)
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, torch.float32)
            if grad_slopes is not None and apart is not None:
                grad_slopes[some] -= torch.mv(grad_scores.flatten(1), apart.flatten())
            scaled = (grad_scores * width**-0.5).to(v.dtype)
            target = grad_qkv[b, :, :, some]  # (L, 3, H', E)
            target[:, 0] = (scaled @ k).transpose(0, 1)
            target[:, 1] = (scaled.transpose(1, 2) @ q).transpose(0, 1)
            target[:, 2] = (used.to(v.dtype).transpose(1, 2) @ g).transpose(0, 1)
        return grad_qkv, None, grad_slopes, None


def _chunks(batch: int, heads: int, length: int) -> Iterator[tuple[int, slice]]:
    """Sequences, and as many of their heads as fit into the cache."""
    step = max(1, min(heads, CACHED_SCORES // length**2))
    for b in range(batch):
        for first in range(0, heads, step):
            yield b, slice(first, first + step)


def _of_heads(
    distance: Tensor | None, slopes: Tensor | None, b: int, some: slice
) -> tuple[Tensor | None, Tensor | None]:
    """Distances (L, L) of a sequence and slopes (H',) of some heads; None without ALiBi."""
    if distance is None or slopes is None:
        return None, None
    return distance[b % len(distance)], slopes[some]


def _weights(q: Tensor, k: Tensor, distance: Tensor | None, slopes: Tensor | None) -> Tensor:
    """Attention weights (H', L, L) in float32 of queries and keys (H', L, E) before dropout."""
    scores = ((q * q.shape[-1] ** -0.5) @ k.transpose(1, 2)).float()  # (H', L, L)
    if distance is not None and slopes is not None:
        scores.addcmul_(distance.unsqueeze(0), slopes.view(-1, 1, 1), value=-1)
    return F.threshold(torch.softmax(scores, dim=-1), NEGLIGIBLE, 0.0, inplace=True)
