"""Layers with PyTorch's default distributions, drawn from a generator, so that threads do not disturb each other."""

from __future__ import annotations

import torch
from torch import nn

from emotion2vec.model.shapes import Undrawn


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator | None = None) -> nn.Linear:
    """An nn.Linear with PyTorch's default distribution, drawn from a generator."""
    with Undrawn():  # and not `skip_init`, which on `meta` imports PyTorch's compiler
        layer = nn.Linear(inputs, outputs)
    return draw_linear(layer, generator)


def draw_linear(layer: nn.Linear, generator: torch.Generator | None = None) -> nn.Linear:
    """Draw a layer's weights anew, with PyTorch's default distribution, from a generator."""
    bound = layer.in_features**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def seeded_gru(
    inputs: int, hidden: int, generator: torch.Generator | None = None, *, bidirectional: bool = False
) -> nn.GRU:
    """An nn.GRU with PyTorch's default distribution, drawn from a generator."""
    with Undrawn():
        network: nn.GRU = nn.GRU(inputs, hidden, batch_first=True, bidirectional=bidirectional)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=generator)
    return network
