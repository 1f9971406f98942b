"""The model of a job: loaded or handed over, on its device, in eval mode for as long as the job lasts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import nn

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import PRECISIONS
from emotion2vec.extraction.processors import threads_within_processors
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frozen import frozen
from emotion2vec.model.linear import can_pack, packed

DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))
"""The type to compute in by precision."""


@contextmanager
def ready_model(
    model: str | Path | Emotion2vec, device: str | None, precision: str = "fp32"
) -> Iterator[tuple[Emotion2vec, str]]:
    """Load a model, or borrow one in eval mode, without touching its owner's; on a CPU its weights are packed.

    Args:
        model: what `load_model` takes, or a model, which is moved if `device` is given.
        device: see `choose_device`; None leaves a model where it is.
        precision: `fp32`, `bf16`, `fp16`, or `auto`.

    Yields:
        The model, or a second face of it, and the name of the precision to compute in.

    Raises:
        ConfigError: there is no such device, or `model` is neither a path nor a model.
        CheckpointError: the model cannot be loaded.
    """
    check_model(model)
    if isinstance(model, str | Path):
        model = load_model(model, device=str(choose_device(device)))
    elif device is not None:
        model.to(choose_device(device))
    precision = choose_precision(precision, model.device)
    model, dtype = frozen(model), DTYPES[precision]
    with (
        threads_within_processors() if model.device.type == "cpu" else nullcontext(),
        packed(model, dtype) if can_pack(model.device, dtype) else nullcontext(),
    ):
        yield model, precision


def check_model(model: object) -> None:
    """Check that a job was given a model.

    Raises:
        ConfigError: it is neither a path, nor a name, nor a model.
    """
    if not isinstance(model, str | Path | Emotion2vec):
        raise ConfigError(f"model is a {type(model).__name__}, expected a path, a name or an Emotion2vec")


def choose_precision(name: str, device: torch.device) -> str:
    """Resolve `auto`: bf16 where the hardware multiplies bfloat16, else fp16 on a GPU and fp32 on a CPU."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if device.type == "cpu" and fast else "fp32"


def weights_hash(model: nn.Module) -> str:
    """Hash a network's configuration and weights, ours or another library's: what its features depend on."""
    digest = hashlib.sha256(repr(getattr(model, "config", None)).encode())  # processors have instructions for it
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
