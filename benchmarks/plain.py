"""Our network as anybody would write it in PyTorch: what the special paths on a CPU must not be slower than.

B: sequences. L: sequence length. T: frames. C: channels. H: heads. E: width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.model.attention import Bias
from emotion2vec.model.frontend import ConvLayer
from emotion2vec.model.linear import Linear
from emotion2vec.model.position import FrameConv

DROPOUTS = ("model.transformer", "model.backbone", "pretrain.decoder")
"""Modules that use our dropout."""


def linear(
    self: Linear, x: Tensor, *, gelu_first: bool = False, gelu: bool = False, add: Tensor | None = None
) -> Tensor:
    """`nn.Linear` with what surrounds it as operations of their own."""
    x = F.linear(F.gelu(x) if gelu_first else x, self.weight, self.bias)
    x = F.gelu(x) if gelu else x
    return x if add is None else x + add


def conv_layer(self: ConvLayer, x: Tensor) -> Tensor:
    """`F.conv1d`, with a transpose on each side: PyTorch has channels in front of time."""
    x = F.conv1d(x.transpose(1, 2), self.weight, stride=self.stride).transpose(1, 2)  # (B, T', C_out)
    return F.gelu(self.norm(x))


def frame_conv(self: FrameConv, x: Tensor) -> Tensor:
    """`nn.Conv1d`."""
    return nn.Conv1d.forward(self, x.transpose(1, 2)).transpose(1, 2)


def attend(qkv: Tensor, bias: Bias, probability: float) -> Tensor:
    """PyTorch's attention in inference; with gradients, which its fused kernel does not give the bias, its parts."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, L, E) each
    if not torch.is_grad_enabled() and not probability:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.dense).transpose(1, 2)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)  # (B, H, L, L)
    scores = scores.float() if bias.dense is None else scores.float() + bias.dense
    weights = F.dropout(torch.softmax(scores, dim=-1), probability)
    return (weights.to(v.dtype) @ v).transpose(1, 2)  # (B, L, H, E)


def dropout(x: Tensor, probability: float, training: bool = True) -> Tensor:
    """`F.dropout`."""
    return F.dropout(x, probability, training)


@contextmanager
def plain_network() -> Iterator[None]:
    """Switch every special path of the network off."""
    patches: list[Any] = [
        mock.patch.object(Linear, "forward", linear),
        mock.patch.object(Linear, "pack", lambda self, dtype: None),
        mock.patch.object(ConvLayer, "forward", conv_layer),
        mock.patch.object(ConvLayer, "pack", lambda self, dtype: None),
        mock.patch.object(FrameConv, "forward", frame_conv),
        mock.patch("emotion2vec.model.transformer.attend", attend),
        *(mock.patch(f"emotion2vec.{name}.dropout", dropout) for name in DROPOUTS),
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
