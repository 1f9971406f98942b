"""The devices that networks run on: which are here, and what differs between them beside speed.

Whoever wants to know more of a device than `is_host` asks here, so that a new kind of device is one more case in one
place. What a device multiplies fast is another question.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

from emotion2vec.errors import ConfigError

HOST = torch.device("cpu")
"""The processors of this machine, whose memory NumPy reads too."""


def choose_device(name: str | torch.device | None) -> torch.device:
    """Resolve a device name; None and `auto` mean the first CUDA device if there is one, else the CPU.

    Other accelerators (`mps`, `xpu`, `npu`, ...) are taken when they are named.

    Raises:
        ConfigError: there is no such device.
    """
    if name is None or name == "auto":
        return torch.device("cuda") if torch.cuda.is_available() else HOST
    if not _is_here(str(name)):
        raise ConfigError(f"device is {str(name)!r}, which is not here; expected auto, {' or '.join(devices_here())}")
    return torch.device(name)


def devices_here() -> list[str]:
    """Names of the devices that PyTorch can use on this machine, the CPU first."""
    kind = accelerator()
    if kind is None:
        return ["cpu"]
    count = torch.accelerator.device_count()
    return ["cpu", *([kind] if count == 1 else [f"{kind}:{index}" for index in range(count)])]


def accelerator() -> str | None:
    """The kind of accelerator that PyTorch sees: `cuda`, `mps`, `xpu`, `npu`, ...; one build of it knows one kind."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if found is None else found.type


def is_host(device: torch.device) -> bool:
    """Whether tensors there lie in the memory of the host, and its processors compute."""
    return device.type == HOST.type


@contextmanager
def operators_of(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Say what to do about an operator that a device lacks in another dtype than float32.

    Raises:
        ConfigError: in place of PyTorch's error of it.
    """
    try:
        yield
    except RuntimeError as error:
        if dtype == torch.float32 or "not implemented" not in str(error):
            raise
        raise ConfigError(
            f"the model's weights are {dtype}, in which {device} lacks an operator ({error}); expected model.float()"
        ) from error


@cache
def exact_device(device: torch.device) -> torch.device:
    """Where float64 is to be computed for tensors of a device: there, or on the host where it has none (`mps`)."""
    return device if _works(device, torch.float64) else HOST


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor from the host; where that is safe without waiting for what the device still computes.

    CUDA copies pageable memory in the order of its stream. `mps` hands out wrong numbers when it does not wait
    (pytorch/pytorch#139550), and of others nothing is known.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def synchronize(device: torch.device) -> None:
    """Wait until a device has computed all that it was given."""
    if not is_host(device):
        torch.accelerator.synchronize(device)


def peak_memory(device: torch.device) -> float:
    """Largest memory so far in bytes: of the accelerator where that is counted, else of this process (0 on Windows)."""
    if not is_host(device):
        module = torch.get_device_module(device)
        if hasattr(module, "max_memory_allocated"):
            return float(module.max_memory_allocated(device))
        if hasattr(module, "driver_allocated_memory"):  # mps counts no peak, and hardly gives memory back
            return float(module.driver_allocated_memory())
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; PyTorch has a type for this on some accelerators, and a message on all others."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in said for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def warn_of_fallback(device: torch.device, error: NotImplementedError) -> None:
    """Warn that the CPU takes over, since a device lacks an operator."""
    reason = str(error).partition("\n")[0]
    warnings.warn(f"device {device} lacks an operator, so that the CPU computes: {reason}", stacklevel=3)


@cache
def _is_here(name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds that PyTorch no longer has
            device = torch.device(name)
    except RuntimeError:
        return False
    return _works(device, torch.float32)


def _works(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device really computes in a dtype; kinds without their software raise errors of many types."""
    try:
        return float(torch.ones(2, device=device, dtype=dtype).sum()) == 2.0
    except Exception:
        return False
