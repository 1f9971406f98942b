"""How much a model computes, from the shapes alone; a multiplication and an addition are two operations.

S: samples. T: frames. D: model width.
"""

from __future__ import annotations

from emotion2vec.model.config import Emotion2vecConfig


def cnn_flops(model: Emotion2vecConfig, samples: int) -> int:
    """Floating-point operations of the CNN's forward pass over S samples."""
    steps, inputs, total = samples, 1, 0
    for kernel, stride in zip(model.kernels, model.strides, strict=True):
        steps = (steps - kernel) // stride + 1
        total += 2 * steps * kernel * inputs * model.channels
        inputs = model.channels
    return total


def block_flops(model: Emotion2vecConfig, length: int) -> int:
    """Forward pass of one Transformer block over `length` tokens and frames: four projections, FFN, attention."""
    projections = 2 * length * (4 * model.width**2 + 2 * model.width * model.ffn_width)
    return projections + 4 * length**2 * model.width


def position_flops(model: Emotion2vecConfig, frames: int) -> int:
    """Forward pass of the positional convolutions over T frames."""
    kernel = model.position_width // model.position_layers
    return 2 * frames * kernel * model.width**2 // model.position_groups * model.position_layers
