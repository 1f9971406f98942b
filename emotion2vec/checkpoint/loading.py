"""A model from whatever holds one: the function behind every `--model`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint.native import check_weights
from emotion2vec.checkpoint.source import Source, read_source
from emotion2vec.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.model.encoder import Emotion2vec

USES = ("student", "teacher")


def load_model(source: str | Path, *, device: str = "cpu", use: str = "student") -> Emotion2vec:
    """Load a model in eval mode with float32 weights.

    Args:
        source: a model folder or run folder of ours, a fairseq `.pt`, a FunASR or Hugging Face folder, `hf:owner/name`,
            `ms:owner/name`, or a short name (`tiny` ships with the package).
        device: where to put the weights; see `emotion2vec.devices.choose_device`.
        use: `student`, or `teacher` for the EMA weights where the checkpoint has them.

    Raises:
        CheckpointError: nothing is there, it is of no known kind, truncated, or its weights do not fit its dimensions.
        ConfigError: `use` is neither, or there is no such device.
    """
    if use not in USES:
        raise ConfigError(f"use is {use!r}, expected {' or '.join(USES)}")
    return build_model(read_source(source), device=device, use=use)


def build_model(source: Source, *, device: str = "cpu", use: str = "student") -> Emotion2vec:
    """Build the network of a source; weight after weight is copied, so that a mapped file is never in memory whole."""
    import torch

    from emotion2vec.devices import choose_device
    from emotion2vec.model.encoder import Emotion2vec
    from emotion2vec.model.shapes import shapes_alone

    weights = chosen_weights(source, use)
    with shapes_alone():
        model = Emotion2vec(source.config, source.labels)
    check_weights(model, weights, str(source.path))
    place = choose_device(device)
    copies: dict[str, Tensor] = {}
    for name, value in weights.items():
        copies[name] = value.to(place, torch.float32, copy=True).contiguous()
        source.release()
    model.load_state_dict(copies, assign=True)
    model.heard = source.heard
    return model.to(place).eval()


def chosen_weights(source: Source, use: str) -> dict[str, Tensor]:
    """The student's weights, or the teacher's with the student's where the teacher has none of its own.

    Raises:
        CheckpointError: there is no teacher.
    """
    if use == "student":
        return source.student
    if not source.teacher:
        raise CheckpointError(f"{source.path}: holds no teacher, expected use='student'")
    return source.student | source.teacher
