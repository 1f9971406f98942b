"""A pretended accelerator, `npu`: what real ones refuse, it refuses, and it computes on the CPU behind their back.

Its tensors have no host copy (`numpy()` fails), do not mix with the host's, and have no float64, as on Apple's `mps`.
Operators can be made to be lacking. It stays in a process for good, so tests run it in processes of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "npu"

aten = torch.ops.aten
MIXING = {aten.copy_.default, aten._to_copy.default, aten.index.Tensor, aten.index_put_.default}
"""What takes tensors of the host beside those of the device."""

lacking: set[str] = set()
"""Names of operators, such as `aten.gelu`, that the device lacks."""

called: set[str] = set()
"""Names of the operators that the device was asked for."""


class OnDevice(torch.Tensor):
    """A tensor whose numbers, `raw`, the host does not see."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> OnDevice:
        if raw.dtype == torch.float64:
            raise TypeError(f"the {NAME} device has no float64")
        with torch.inference_mode(False):  # PyTorch cannot make views of parameters of such a class otherwise
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                raw.shape,
                strides=raw.stride(),
                storage_offset=raw.storage_offset(),
                dtype=raw.dtype,
                device=torch.device(NAME, 0),
            )
        made.raw = raw
        return made

    def __init__(self, raw: torch.Tensor) -> None:
        pass

    def tolist(self) -> Any:
        return self.raw.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator of the device."""
    name = str(func.overloadpacket)
    called.add(name)
    if name in lacking:
        raise NotImplementedError(f"The operator '{name}' is not currently implemented for the {NAME} device.")
    given = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    if func not in MIXING and any(not isinstance(x, OnDevice) and x.ndim for x in given):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {NAME} and cpu")
    there = {id(x.raw): x for x in given if isinstance(x, OnDevice)}
    target = kwargs.get("device")
    to_host = target is not None and torch.device(target).type == "cpu"

    def unwrap(x: Any) -> Any:
        return x.raw if isinstance(x, OnDevice) else torch.device("cpu") if isinstance(x, torch.device) else x

    out = func(*pytree.tree_map(unwrap, args), **pytree.tree_map(unwrap, kwargs))

    def wrap(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or to_host:
            return x
        return there[id(x)] if id(x) in there else OnDevice(x)

    if func is aten.copy_.default and not isinstance(args[0], OnDevice):
        return args[0]
    return pytree.tree_map(wrap, out)


class Module:
    """What `torch.npu` would be."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        pass

    @staticmethod
    def max_memory_allocated(device: Any = None) -> int:
        return 3_000_000_000

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def install() -> None:
    """Make the device known to PyTorch, in this process for good."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    torch.accelerator.synchronize = lambda device=None: called.add("synchronize")  # PyTorch's needs one in C++
    library = torch.library.Library("aten", "IMPL")

    def empty(size: Any, dtype: Any = None, **rest: Any) -> Any:
        return OnDevice(torch.empty(size, dtype=dtype))

    def empty_strided(size: Any, stride: Any, dtype: Any = None, **rest: Any) -> Any:
        return OnDevice(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
        target.raw.copy_(source)
        return target

    def arange(*numbers: Any, dtype: Any = None, **rest: Any) -> Any:  # PyTorch's own resizes, which wrappers cannot
        return OnDevice(torch.arange(*numbers, dtype=dtype))

    for overload in ("arange", "arange.start", "arange.start_step"):
        library.impl(overload, arange, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    globals()["_kept"] = library
