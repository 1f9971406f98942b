"""How much a model computes, from the shapes alone; a multiplication and an addition are two operations.

S: samples. T: frames. D: model width.
"""

from __future__ import annotations

from emotion2vec.audio.frames import MEL_HOP
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.speech import Part, SpeechEncoder


def cnn_flops(model: Emotion2vecConfig, samples: int) -> int:
    """Floating-point operations of the CNN's forward pass over S samples, or over the mel frames that they give."""
    mel = model.frontend == "logmel"
    steps, inputs, total = (samples // MEL_HOP, model.mels, 0) if mel else (samples, 1, 0)
    outputs = [model.channels] * (len(model.kernels) - 1) + [model.width if mel else model.channels]
    for kernel, stride, size in zip(model.kernels, model.strides, outputs, strict=True):
        steps = (steps - (1 if mel else kernel)) // stride + 1
        total += 2 * steps * kernel * inputs * size
        inputs = size
    return total


def projection_flops(model: Emotion2vecConfig, frames: int) -> int:
    """Forward pass of what makes the CNN's channels the model's width; a CNN on mel frames does that itself."""
    return 0 if model.frontend == "logmel" else 2 * frames * model.channels * model.width


def block_flops(model: Emotion2vecConfig, length: int) -> int:
    """Forward pass of one Transformer block over `length` tokens and frames: four projections, FFN, attention."""
    projections = 2 * length * (4 * model.width**2 + 2 * model.width * model.ffn_width)
    return projections + 4 * length**2 * model.width


def position_flops(model: Emotion2vecConfig, frames: int) -> int:
    """Forward pass of the positional convolutions over T frames, where there are any."""
    if model.positions != "convolution":
        return 0
    kernel = model.position_width // model.position_layers
    return 2 * frames * kernel * model.width**2 // model.position_groups * model.position_layers


def clip_flops(encoder: SpeechEncoder, samples: int, below: int = 0) -> float:
    """Operations of one clip, forward and backward: two per weight and frame, and of blocks their attention.

    A part that learns costs three times its forward pass, one above it that does not, twice, one with adapters about
    twice, and the parts `below` nothing.
    """
    frames, width = encoder.config.grid.count(samples), encoder.config.width
    total, reached = 0.0, False
    for part in encoder.parts()[below:]:
        learnt, weights = (_weights(part, learnt=only) for only in (True, False))
        forward = 2.0 * frames * weights + (4.0 * frames**2 * width if part.name.startswith("block") else 0.0)
        total += forward * (1 + reached + learnt / max(1, weights))
        reached = reached or learnt > 0
    return total


def _weights(part: Part, *, learnt: bool) -> int:
    """Numbers in the matrices of a part, or only in those that learn."""
    return sum(p.numel() for p in part.parameters() if p.ndim > 1 and (p.requires_grad or not learnt))
