"""Heads by the name of their kind, as configurations and model folders have it.

L: layers. P: channels of a pooled utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from emotion2vec.model.config import HeadConfig
from emotion2vec.model.heads import Attention, FrameMlp, Head, LayerMix, MeanLinear, MeanTwoLayers, Recurrent

Drawn = torch.Generator | None
Builder = Callable[[HeadConfig, int, int, int, Drawn], Head]
"""Makes a head of a configuration, the width and the number of layers of what it reads, and its outputs."""


def _pooled(config: HeadConfig, width: int) -> int:
    """Channels P of utterances as the head reads them."""
    return 2 * width if config.pooling == "mean+std" else width


BUILDERS: dict[str, Builder] = {
    "mean": lambda c, width, layers, outputs, drawn: MeanLinear(_pooled(c, width), outputs, drawn),
    "two": lambda c, width, layers, outputs, drawn: MeanTwoLayers(_pooled(c, width), c.hidden, outputs, drawn),
    "layers": lambda c, width, layers, outputs, drawn: LayerMix(layers, _pooled(c, width), c.hidden, outputs, drawn),
    "mlp": lambda c, width, layers, outputs, drawn: FrameMlp(width, c.hidden, outputs, drawn),
    "attention": lambda c, width, layers, outputs, drawn: Attention(width, c.hidden, outputs, drawn),
    "gru": lambda c, width, layers, outputs, drawn: Recurrent(width, c.hidden, outputs, drawn),
}
"""How each of `emotion2vec.model.config.HEADS` is made."""


def build_head(config: HeadConfig, width: int, layers: int, labels: Sequence[str], generator: Drawn = None) -> Head:
    """Make a head with random weights.

    Args:
        config: which.
        width: channels D of the frames that it reads.
        layers: how many layers L it reads, where it reads them all (`Head.reads_layers`).
        labels: names of its scores.
        generator: draws its weights; None for PyTorch's own.

    Raises:
        ConfigError: there is no label that may get a probability, or one is there twice.
    """
    head = BUILDERS[config.kind](config, width, layers, len(labels), generator)
    head.take_labels(labels)
    head.config = config
    return head
