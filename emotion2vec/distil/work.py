"""How much a distillation computes, from the shapes alone. S: samples. T: frames."""

from __future__ import annotations

from emotion2vec.distil.config import DistilConfig, student_depth
from emotion2vec.distil.teacher import Teacher
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.training.work import block_flops, cnn_flops, position_flops, projection_flops


def student_flops(config: DistilConfig, width: int, samples: int) -> float:
    """Operations of student and prediction heads, to a teacher's width, forward and backward, for a clip of S samples.

    A backward pass costs twice its forward pass.
    """
    model = config.model
    frames = model.grid.count(samples)
    learned = 3.0 if config.optim.cnn_grad_scale and config.optim.cnn_lr_scale else 1.0
    blocks = student_depth(config) * (1.0 - model.layerdrop) * block_flops(model, model.tokens + frames)
    heads = 2 * len(config.target.layers) * frames * model.width * width
    above = projection_flops(model, frames) + position_flops(model, frames) + blocks + heads
    return learned * cnn_flops(model, samples) + 3.0 * above


def teacher_flops(teacher: Teacher, samples: int) -> float:
    """Operations of the teacher for a clip of S samples.

    Of one from another library two operations per weight and frame are counted, which is too little for its CNN.
    """
    config = teacher.config
    frames = config.grid.count(samples)
    if not isinstance(config, Emotion2vecConfig):
        return 2.0 * frames * sum(one.numel() for one in teacher.model.parameters())
    depth = config.prenet_depth + config.depth
    below = cnn_flops(config, samples) + projection_flops(config, frames) + position_flops(config, frames)
    return float(below + depth * block_flops(config, config.tokens + frames))
