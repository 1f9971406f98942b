"""How much a distillation computes, from the shapes alone. S: samples. T: frames."""

from __future__ import annotations

from emotion2vec.distil.config import DistilConfig, student_depth
from emotion2vec.distil.teacher import Teacher
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.training.work import block_flops, cnn_flops, position_flops, projection_flops


def clip_flops(config: DistilConfig, teacher: Teacher, samples: int) -> float:
    """Operations of a clip of S samples: student forward and backward, teacher and prediction heads.

    A backward pass costs twice its forward pass. Of a teacher of another library two operations per weight and frame
    are counted, which is too little for its CNN.
    """
    model, theirs, terms = config.model, teacher.config, len(config.target.layers)
    frames = model.grid.count(samples)
    learned = 3.0 if config.optim.cnn_grad_scale and config.optim.cnn_lr_scale else 1.0
    blocks = student_depth(config) * (1.0 - model.layerdrop) * block_flops(model, model.tokens + frames)
    heads = 2 * terms * frames * model.width * theirs.width
    student = learned * cnn_flops(model, samples) + 3.0 * (
        projection_flops(model, frames) + position_flops(model, frames) + blocks + heads
    )
    if not isinstance(theirs, Emotion2vecConfig):
        return student + 2.0 * frames * sum(one.numel() for one in teacher.model.parameters())
    depth = theirs.prenet_depth + theirs.depth
    taught = cnn_flops(theirs, samples) + projection_flops(theirs, frames) + position_flops(theirs, frames)
    return student + taught + depth * block_flops(theirs, theirs.tokens + frames)
