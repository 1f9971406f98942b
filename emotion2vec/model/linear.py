"""Matrix products through oneDNN with weights that are laid out for it once: the fast path of inference on a CPU.

PyTorch sends float32 products on a CPU to MKL, which is slow on processors that Intel did not make, and lays out
bfloat16 weights anew in every call. `packed` lays all weights of a network out once, for as long as a job lasts.

Packed weights have no gradients. Training needs none of this: its products are large, float32 is at MKL's own speed on
Intel's processors, and bfloat16 goes to oneDNN anyway.

I: input channels. O: output channels. The leading dimensions (...) of an input are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TYPICAL_ROWS = 256
"""Rows of the input, in frames, that the layout is chosen for; other numbers work as well."""


class PackedWeight:
    """A matrix (O, I) and a bias (O,) in the layout that oneDNN wants."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        self.dtype = dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), TYPICAL_ROWS)
        self._bias = None if bias is None else bias.detach().to(dtype)

    def __call__(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """Multiply (..., I) to (..., O), then apply GELU if asked, all in one pass over memory."""
        activation = "gelu" if gelu else "none"
        return torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self._weight, self._bias, activation, [], "none")


@runtime_checkable
class Packable(Protocol):
    """A module whose weights can be packed."""

    def pack(self, dtype: torch.dtype | None) -> None:
        """Lay the weights out for products in `dtype`; None forgets the layout."""


class Linear(nn.Linear):
    """`nn.Linear` whose weight can be packed for inference; the parameters stay what they are."""

    _packed: PackedWeight | None = None

    def pack(self, dtype: torch.dtype | None) -> None:
        """Lay the weight out for products in `dtype`; None forgets the layout."""
        self._packed = None if dtype is None else PackedWeight(self.weight, self.bias, dtype)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """Multiply (..., I) to (..., O), then apply GELU if asked."""
        if self._packed is not None:
            return self._packed(x, gelu=gelu)
        x = F.linear(x, self.weight, self.bias)
        return F.gelu(x) if gelu else x


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights on this device can be packed: on a CPU whose oneDNN multiplies the dtype."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


@contextmanager
def packed(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Pack the weights of a network on a CPU, and forget the layouts at the end.

    A change of the weights in between would not be seen. Memory: one more copy of the weights in `dtype`.
    """
    packable = [module for module in model.modules() if isinstance(module, Packable)]
    try:
        for module in packable:
            module.pack(dtype)
        yield
    finally:
        for module in packable:
            module.pack(None)
