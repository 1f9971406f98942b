"""How much a pretraining update computes, from the shapes alone.

S: samples. T: frames. N: utterance tokens. K: frames that the student sees. D: model width. F: feed-forward width.
M: views.
"""

from __future__ import annotations

from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.masking import masked_frames


def cnn_flops(model: Emotion2vecConfig, samples: int) -> int:
    """Floating-point operations of the CNN's forward pass over S samples; a multiplication and an addition are two."""
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


def decoder_flops(config: PretrainConfig, frames: int) -> int:
    """Forward pass of the decoder over T frames."""
    decoder, width = config.decoder, config.model.width
    inputs = [width] + [decoder.width] * (decoder.layers - 1)
    convolutions = sum(2 * frames * decoder.kernel * size * decoder.width // decoder.groups for size in inputs)
    return convolutions + 2 * frames * decoder.width * width


def utterance_flops(config: PretrainConfig, samples: int, frames: int) -> dict[str, float]:
    """Operations of one utterance's share in an update, forward and backward, by part.

    A backward pass costs twice its forward pass; the teacher has none. Layerdrop counts as its expectation.
    """
    model, views = config.model, config.mask.views
    masked = masked_frames(frames, config.mask.prob)
    depth = model.prenet_depth + model.depth
    cnn, projection = cnn_flops(model, samples), 2 * frames * model.channels * model.width
    learned = 3.0 if config.optim.cnn_grad_scale and config.optim.cnn_lr_scale else 1.0
    teacher = depth * block_flops(model, model.tokens + frames) + position_flops(model, frames)
    if config.ema.frontend:
        teacher += cnn + projection
    return {
        "cnn": learned * cnn + 3.0 * projection,
        "student positions": 3.0 * views * position_flops(model, frames),
        "student blocks": 3.0
        * views
        * depth
        * (1.0 - model.layerdrop)
        * block_flops(model, model.tokens + frames - masked),
        "teacher": float(teacher),
        "decoder": 3.0 * views * decoder_flops(config, frames),
    }
