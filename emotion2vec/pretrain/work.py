"""How much a pretraining update computes, from the shapes alone.

S: samples. T: frames. N: utterance tokens. K: frames that the student sees. M: views.
"""

from __future__ import annotations

from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.masking import masked_frames
from emotion2vec.training.work import block_flops, cnn_flops, position_flops, projection_flops


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
    cnn, projection = cnn_flops(model, samples), projection_flops(model, frames)
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
