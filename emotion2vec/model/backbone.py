"""Positions, utterance tokens and Transformer: the part of the network that the teacher copies.

B: utterances (or views). T: frames. K: frames that the Transformer sees. D: model width. N: utterance tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emotion2vec.model.attention import Bias
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.dropout import dropout
from emotion2vec.model.position import ConvPositions, alibi_distance, alibi_slopes, sinusoids
from emotion2vec.model.transformer import Block


@dataclass
class BackboneOutput:
    """What the backbone computed; every sequence is the N tokens followed by the frames.

    Attributes:
        embedded: (B, N+K, D) what enters the first block.
        x: (B, N+K, D) output of the last block.
        layers: outputs (B, N+K, D) of all blocks, prenet first.
        ffn: FFN outputs (B, N+K, D) of the main blocks, before the final residual and norm.
    """

    embedded: Tensor
    x: Tensor
    layers: list[Tensor]
    ffn: list[Tensor]


class Backbone(nn.Module):
    """Context encoder ("prenet") and main blocks over tokens and frames.

    Frames know their time by positional convolutions and ALiBi, with one learned scale per head, or by sinusoids.

    Attributes:
        recompute: keep only the blocks' inputs for the backward pass, and compute the rest again (Chen et al. 2016).
    """

    slopes: Tensor | None
    positions: ConvPositions | None
    alibi_scale: nn.Parameter | None

    def __init__(self, config: Emotion2vecConfig):
        super().__init__()
        width = config.width
        self.tokens = nn.Parameter(_initial_tokens(config.tokens, width)) if config.tokens else None
        if config.positions == "convolution":
            self.positions = ConvPositions(width, config.position_layers, config.position_width, config.position_groups)
            self.alibi_scale = nn.Parameter(torch.ones(config.heads))
            self.register_buffer("slopes", alibi_slopes(config.heads), persistent=False)
        else:
            self.positions = self.alibi_scale = self.slopes = None
        self.prenet_norm = nn.LayerNorm(width) if config.norm == "post" else nn.Identity()
        self.prenet = nn.ModuleList(self._block(config) for _ in range(config.prenet_depth))
        self.blocks = nn.ModuleList(self._block(config) for _ in range(config.depth))
        self.final_norm = nn.LayerNorm(width) if config.final_norm else nn.Identity()
        self.dropout = config.dropout
        self.recompute = False

    @staticmethod
    def _block(config: Emotion2vecConfig) -> Block:
        return Block(
            config.width,
            config.heads,
            config.ffn_width,
            config.dropout,
            config.attention_dropout,
            pre_norm=config.norm == "pre",
        )

    def forward(
        self,
        local: Tensor,
        *,
        padding: Tensor | None = None,
        visible: Tensor | None = None,
        skip_blocks: Collection[int] = (),
        before: Mapping[int, Callable[[Tensor], Tensor]] | None = None,
    ) -> BackboneOutput:
        """Contextualize local features (B, T, D).

        Args:
            local: (B, T, D) from the front end.
            padding: (B, T), True = padding, which no frame sees.
            visible: (B, K) indices of the unmasked frames in time order; the others are zeroed for the positional
                convolutions and then removed. None keeps all.
            skip_blocks: blocks left out (layerdrop), counted from the prenet's first.
            before: what is done to the sequences (B, N+K, D) that enter some blocks, by the blocks' numbers.
        """
        count = 0 if self.tokens is None else self.tokens.shape[0]
        every = torch.arange(local.shape[1], device=local.device).unsqueeze(0)  # (1, T)
        times = every if visible is None else visible  # (1, T) or (B, K)
        x = self._positioned(local, padding, visible, times)  # (B, K, D)
        bias = Bias(hidden=None if padding is None else F.pad(padding, (count, 0)))  # (B, N+T)
        if self.slopes is not None and self.alibi_scale is not None:
            bias.distance, bias.slopes = alibi_distance(times, count), self.slopes * self.alibi_scale.clamp(min=0)
        if self.tokens is not None:
            x = torch.cat([self.tokens.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)  # (B, N+K, D)
        return self._run_blocks(x, bias, skip_blocks, before or {})

    def _positioned(self, local: Tensor, padding: Tensor | None, visible: Tensor | None, times: Tensor) -> Tensor:
        """Local features (B, T, D) of the frames that are seen, with what tells their times (B or 1, K): (B, K, D)."""
        if visible is None:
            x = local if padding is None else local.masked_fill(padding.unsqueeze(2), 0.0)
            if self.positions is not None:
                return x + self.positions(x, padding)
        else:
            index = visible.unsqueeze(2).expand(-1, -1, local.shape[2])  # (B, K, D)
            x = local.gather(1, index)  # (B, K, D)
            if self.positions is not None:
                return x + self.positions(torch.zeros_like(local).scatter(1, index, x)).gather(1, index)
        return x + sinusoids(times, x.shape[2]).to(x.dtype)

    def _run_blocks(
        self,
        x: Tensor,
        bias: Bias,
        skip_blocks: Collection[int],
        before: Mapping[int, Callable[[Tensor], Tensor]],
    ) -> BackboneOutput:
        layers, ffn = [], []
        embedded = x = dropout(self.prenet_norm(x), self.dropout, self.training)
        for number, block in enumerate([*self.prenet, *self.blocks]):
            if number in before:
                x = before[number](x)
            if number not in skip_blocks:
                if self.recompute and torch.is_grad_enabled():
                    x, block_ffn = checkpoint(block, x, bias, use_reentrant=False)
                else:
                    x, block_ffn = block(x, bias)
                if number >= len(self.prenet):
                    ffn.append(block_ffn)
            if number + 1 == len(self.prenet) + len(self.blocks):
                x = self.final_norm(x)
            layers.append(x)
        return BackboneOutput(embedded=embedded, x=x, layers=layers, ffn=ffn)


def _initial_tokens(count: int, width: int) -> Tensor:
    """Draw tokens (N, D): the first zero, the others N(0, 1), as data2vec 2.0 does."""
    tokens = torch.randn(count, width)
    tokens[0] = 0.0
    return tokens
