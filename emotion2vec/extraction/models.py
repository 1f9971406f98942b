"""The model of a job: loaded or handed over, on its device, in eval mode for as long as the job lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.model.encoder import Emotion2vec


@contextmanager
def ready_model(model: str | Path | Emotion2vec, device: str | None) -> Iterator[Emotion2vec]:
    """Load a model, or borrow one and give it back in the mode that it was in.

    Args:
        model: what `load_model` takes, or a model, which is moved if `device` is given.
        device: see `choose_device`; None leaves a model where it is.

    Raises:
        ConfigError: there is no such device, or `model` is neither a path nor a model.
        CheckpointError: the model cannot be loaded.
    """
    if isinstance(model, str | Path):
        yield load_model(model, device=str(choose_device(device)))
        return
    if not isinstance(model, Emotion2vec):
        raise ConfigError(f"model is a {type(model).__name__}, expected a path, a name or an Emotion2vec")
    if device is not None:
        model.to(choose_device(device))
    was_training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(was_training)


def choose_device(name: str | None) -> torch.device:
    """Resolve a device name; None and `auto` mean the first CUDA device if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device.
    """
    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device is {name!r}, which cannot be used here: {reason}") from error
    return device
