"""Heads by the name of their kind, as configurations and model folders have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import nn

from emotion2vec.model.config import CROSS, SYMBOLS, FurtherHead, HeadConfig
from emotion2vec.model.frame_heads import (
    Attention,
    AttentiveCosine,
    AttentiveStatistics,
    Cosine,
    LayerConvolutions,
    TransformerLeg,
)
from emotion2vec.model.fused import FrameSymbols, Fused
from emotion2vec.model.heads import FrameMlp, Head, LayerMix, MeanLinear, MeanTwoLayers, Recurrent
from emotion2vec.model.text import Concatenation, CrossAttention, LateFusion

Drawn = torch.Generator | None


class Sizes(NamedTuple):
    """Dimensions of a head: width D and layers L of what it reads, P of pooled utterances, inner width, scores.

    Groups are the places of its acoustic and of its semantic layers, and text the channels of a text's tokens.
    """

    width: int
    layers: int
    pooled: int
    hidden: int
    outputs: int
    groups: tuple[Sequence[int], Sequence[int]] = ((0,), (0,))
    text: int = 4


BUILDERS: dict[str, Callable[[Sizes, Drawn], Head]] = {
    "mean": lambda of, drawn: MeanLinear(of.pooled, of.outputs, drawn),
    "two": lambda of, drawn: MeanTwoLayers(of.pooled, of.hidden, of.outputs, drawn),
    "layers": lambda of, drawn: LayerMix(of.layers, of.pooled, of.hidden, of.outputs, drawn),
    "mlp": lambda of, drawn: FrameMlp(of.width, of.hidden, of.outputs, drawn),
    "attention": lambda of, drawn: Attention(of.width, of.hidden, of.outputs, drawn),
    "statistics": lambda of, drawn: AttentiveStatistics(of.width, of.hidden, of.outputs, drawn),
    "convolutions": lambda of, drawn: LayerConvolutions(of.layers, of.width, of.hidden, of.outputs, drawn),
    "transformer": lambda of, drawn: TransformerLeg(of.width, of.hidden, of.outputs, drawn),
    "gru": lambda of, drawn: Recurrent(of.width, of.hidden, of.outputs, drawn),
    "cosine": lambda of, drawn: Cosine(of.pooled, of.hidden, of.outputs, drawn),
    "attentive-cosine": lambda of, drawn: AttentiveCosine(of.width, of.hidden, of.outputs, drawn),
    "fused": lambda of, drawn: Fused(of.groups, of.width, of.hidden, of.outputs, drawn),
    "text-late": lambda of, drawn: LateFusion(of.pooled, of.text, of.hidden, of.outputs, drawn),
    "text-concatenation": lambda of, drawn: Concatenation(of.pooled, of.text, of.hidden, of.outputs, drawn),
    CROSS: lambda of, drawn: CrossAttention(of.width, of.text, of.hidden, of.outputs, drawn),
    SYMBOLS: lambda of, drawn: FrameSymbols(of.groups[1], of.width, of.outputs, drawn),
}
"""How each of `emotion2vec.model.config.HEADS` is made, and what names symbols of frames."""


@cache
def _kinds() -> dict[type[Head], str]:
    return {type(build(Sizes(4, 1, 4, 4, 2), torch.Generator())): kind for kind, build in BUILDERS.items()}


def kind_of(head: Head) -> str:
    """The name of a head's kind.

    Raises:
        KeyError: it has none.
    """
    return _kinds()[type(head)]


def build_head(config: HeadConfig, width: int, layers: int, labels: Sequence[str], generator: Drawn = None) -> Head:
    """Make a head with random weights.

    Args:
        config: which.
        width: channels D of the frames that it reads.
        layers: how many layers L it reads, where it reads them all (`Head.reads_layers`).
        labels: names of its scores.
        generator: draws its weights; None for PyTorch's own.

    Raises:
        ConfigError: there is no label that may get a probability, or one is there twice; or a group has a block that
            is not there.
    """
    pooled = 2 * width if config.pooling == "mean+std" else width
    sizes = Sizes(width, layers, pooled, config.hidden, len(labels), config.groups(layers), config.text_width)
    head = BUILDERS[config.kind](sizes, generator)
    head.take_labels(labels)
    head.config = config
    return head


def build_further(heads: Sequence[FurtherHead], width: int, layers: int) -> nn.ModuleList:
    """Make the heads that a model has beside its main one, with random weights.

    Raises:
        ConfigError: as `build_head`.
    """
    built = nn.ModuleList()
    for one in heads:
        head = build_head(one.config, width, layers, one.labels)
        head.target = one.target
        built.append(head)
    return built
