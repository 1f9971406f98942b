"""Matrix products on a CPU: through oneDNN with weights laid out once for inference, and with gradients for training.

PyTorch sends float32 products on a CPU to MKL, which is slow on processors that Intel did not make, and lays out
bfloat16 weights anew in every call. `packed` lays all weights of a network out once, for as long as a job lasts.

Packed weights have no gradients. What is learned goes through `product`, which chooses the library and the form of
each of the three products of a training step.

I: input channels. O: output channels. The leading dimensions (...) of an input are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TYPICAL_ROWS = 256
"""Rows of the input, in frames, that the layout is chosen for; other numbers work as well."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu_first: bool = False) -> Tensor:
    """Multiply (..., I) by a matrix (O, I) and add a bias (O,), with gradients, through the faster library.

    On a GPU, under a compiler, and where nothing is learned this is PyTorch's own product.

    Args:
        x: (..., I).
        weight: (O, I).
        bias: (O,).
        gelu_first: whether to multiply GELU(x) in place of x. Of the two, a CPU keeps only x for the backward pass.
    """
    learned = torch.is_grad_enabled() and (weight.requires_grad or x.requires_grad)
    if not learned or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.linear(F.gelu(x) if gelu_first else x, weight, bias)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if gelu_first or dtype == torch.bfloat16 or (dtype == torch.float32 and mkl_is_slow()):
        bias = None if bias is None else bias.to(dtype)
        return LearnedProduct.apply(x.to(dtype), weight.to(dtype), bias, gelu_first)
    return F.linear(x, weight, bias)


@cache
def mkl_is_slow() -> bool:
    """Whether float32 products belong to oneDNN: MKL keeps its best kernels for Intel's processors."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    vendor = next((line for line in facts.splitlines() if line.startswith("vendor_id")), "GenuineIntel")
    return torch.backends.mkldnn.is_available() and "GenuineIntel" not in vendor


class LearnedProduct(torch.autograd.Function):
    """A product and its two gradients on a CPU, each in the form that is fast in its library."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gelu_first: bool) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, weight)
        ctx.has_bias, ctx.gelu_first = bias is not None, gelu_first
        return _multiply(F.gelu(x) if gelu_first else x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:  # noqa: D102
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grads = grad.reshape(-1, grad.shape[-1])  # (R, O)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _multiply(grad, weight.t(), None)
            if ctx.gelu_first:
                grad_x = torch.ops.aten.gelu_backward(grad_x, x)
        if ctx.needs_input_grad[1]:
            rows = (F.gelu(x) if ctx.gelu_first else x).reshape(-1, x.shape[-1])  # (R, I)
            grad_weight = _outer(grads, rows)
        return grad_x, grad_weight, grads.sum(dim=0) if ctx.has_bias else None, None


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` by oneDNN, where PyTorch would choose an MKL that is slow."""
    if x.dtype == torch.float32 and mkl_is_slow():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def _outer(grads: Tensor, rows: Tensor) -> Tensor:
    """Sum of outer products (O, I) of (R, O) and (R, I).

    oneDNN is slow when the first factor is transposed in place, so the narrower one is copied.
    """
    if grads.dtype == torch.float32:
        if not mkl_is_slow():
            return grads.t() @ rows
        return torch.ops.mkldnn._linear_pointwise(grads.t().contiguous(), rows.t(), None, "none", [], "")
    if grads.shape[1] <= rows.shape[1]:
        return grads.t().contiguous() @ rows
    return (rows.t().contiguous() @ grads).t()


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

    @property
    def is_packed(self) -> bool:
        """Whether the weight is laid out for inference."""
        return self._packed is not None

    def forward(self, x: Tensor, *, gelu_first: bool = False, gelu: bool = False) -> Tensor:
        """Multiply (..., I) to (..., O).

        Args:
            x: (..., I).
            gelu_first: apply GELU to `x` before. Cheap in training, see `product`.
            gelu: apply GELU afterwards. Cheap with a packed weight: it is part of the product.
        """
        if self._packed is not None:
            return self._packed(F.gelu(x) if gelu_first else x, gelu=gelu)
        x = product(x, self.weight, self.bias, gelu_first=gelu_first)
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
