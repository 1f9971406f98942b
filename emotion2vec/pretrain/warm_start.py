"""Starting pretraining from somebody's weights."""

from __future__ import annotations

from collections.abc import Callable

from emotion2vec.pretrain.ema import Teacher
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.training.config import InitConfig
from emotion2vec.training.warm_start import Origin, WarmStart, take_weights


def warm_start(pretrainer: Pretrainer, config: InitConfig, say: Callable[[str], None]) -> WarmStart:
    """Give the student and, where it fits, the decoder the weights of `init.from`; the teacher starts as the student.

    Args:
        pretrainer: with its initialization, which what is new keeps.
        config: `from`, `use` and `min_share`.
        say: gets the report, line by line.

    Raises:
        CheckpointError: the file cannot be read, means other dimensions, or shares less than `min_share`.
    """
    origin = Origin(config.from_, "init.from", config.use)
    result = take_weights(pretrainer.student, origin, config.min_share, say, pretrainer.decoder)
    pretrainer.teacher = Teacher(pretrainer.student, frontend=pretrainer.teacher.frontend is not None)
    return result
