"""Matrix products with gradients on a CPU, each of the three of a training step in the way that is fastest here.

PyTorch sends float32 products on a CPU to MKL and bfloat16 ones to oneDNN. Which library is the faster one, and with
which of the operands copied first, differs from processor to processor and between the product itself and its two
gradients, so each is chosen by a measurement.

R: rows. I: input channels. O: output channels. The leading dimensions (...) of an input are free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from emotion2vec.devices import HOST, is_host
from emotion2vec.hardware import bf16_gain, fastest, has_onednn, products_choice, remembered

NARROW = 256
"""Products whose smaller side has at most so many channels are measured as narrow ones, the others as wide ones."""
SHORT = 512
"""Products of at most so many rows are measured as short ones, the others as tall ones."""
MARGIN = 1.15
"""How many times faster than PyTorch's way another must be, on every sample of its kind of shape, to be taken."""
SAMPLES = {
    ("narrow", "short"): ((160, 128, 384), (160, 512, 128)),
    ("narrow", "tall"): ((4096, 64, 64), (2048, 256, 256)),
    ("wide", "short"): ((160, 768, 768), (160, 768, 3072)),
    ("wide", "tall"): ((1024, 768, 768), (1024, 1024, 512)),
}
"""Sizes (R, I, O) that are timed for each kind of shape."""

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""How far a way's result may be from PyTorch's, relative to its norm, by dtype; others are left to PyTorch."""

Way = Callable[..., Tensor]


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` by oneDNN; operands that it would multiply by its slow reference kernel are copied first."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight.contiguous(), bias, "none", [], "")


def onednn_multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN's operator takes a dtype on this processor; some have no bfloat16."""

    def find() -> bool:
        try:
            return onednn_linear(torch.ones(2, 32, dtype=dtype), torch.eye(32, dtype=dtype)).sum().item() == 64
        except (RuntimeError, NotImplementedError):
            return False

    return bool(remembered(f"oneDNN multiplies {dtype}", find))


def _input_gradient(grads: Tensor, weight: Tensor) -> Tensor:
    return grads @ weight  # (..., O) (O, I)


def _weight_gradient(grads: Tensor, rows: Tensor) -> Tensor:
    return grads.t() @ rows  # (O, R) (R, I)


def _weight_gradient_copied(grads: Tensor, rows: Tensor) -> Tensor:
    """The same with the narrower factor copied, for a library that is slow with a first factor transposed in place."""
    if grads.shape[1] <= rows.shape[1]:
        return grads.t().contiguous() @ rows
    return (rows.t().contiguous() @ grads).t()


FORWARD: dict[str, Way] = {"plain": F.linear, "onednn": onednn_linear}
"""Ways to multiply (..., I) by (O, I), the plain one first."""
INPUT_GRADIENT: dict[str, Way] = {
    "plain": _input_gradient,
    "onednn": lambda grads, weight: onednn_linear(grads, weight.t()),
}
"""Ways to multiply (..., O) by (O, I)."""
WEIGHT_GRADIENT: dict[str, Way] = {
    "plain": _weight_gradient,
    "copied": _weight_gradient_copied,
    "onednn": lambda grads, rows: onednn_linear(grads.t(), rows.t()),
}
"""Ways to sum the outer products (O, I) of (R, O) and (R, I)."""
WAYS = {"forward": FORWARD, "input gradient": INPUT_GRADIENT, "weight gradient": WEIGHT_GRADIENT}


def shape_class(rows: int, inputs: int, outputs: int) -> tuple[str, str]:
    """Which of the measured kinds of shape a product is."""
    return "narrow" if min(inputs, outputs) <= NARROW else "wide", "short" if rows <= SHORT else "tall"


def choose(kind: str, dtype: torch.dtype, rows: int, inputs: int, outputs: int) -> str:
    """Name of the way in `WAYS[kind]` for a product of this size.

    Raises:
        ConfigError: the environment variable that overrides the choice is no choice.
    """
    if (settled := settled_choice(dtype)) is not None:
        return settled
    shape = shape_class(rows, inputs, outputs)
    name = f"{kind} of {' '.join(shape)} products in {str(dtype).removeprefix('torch.')}"
    samples = SAMPLES[shape]
    return fastest(
        name,
        lambda: (_candidates(kind, dtype, sample) for sample in samples),
        margin=MARGIN,
        tolerance=TOLERANCES[dtype],
    )


def settled_choice(dtype: torch.dtype) -> str | None:
    """`plain` or `onednn` where nothing has to be measured for products in a dtype, else None.

    Raises:
        ConfigError: the environment variable that overrides the choice is no choice.
    """
    wanted = products_choice()
    if wanted == "plain" or not has_onednn() or dtype not in TOLERANCES:
        return "plain"
    if wanted == "onednn":
        return "onednn" if onednn_multiplies(dtype) else "plain"
    # Where bfloat16 is emulated no way of it is fast, and timing them would take long.
    return "plain" if dtype == torch.bfloat16 and bf16_gain(HOST) < 1 else None


def _candidates(kind: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> dict[str, Callable[[], Tensor]]:
    """The ways of a kind, bound to operands of a shape (R, I, O)."""
    rows, inputs, outputs = shape
    generator = torch.Generator().manual_seed(0)
    sizes = {
        "forward": ((rows, inputs), (outputs, inputs)),
        "input gradient": ((rows, outputs), (outputs, inputs)),
        "weight gradient": ((rows, outputs), (rows, inputs)),
    }[kind]
    first, second = (torch.randn(size, generator=generator).to(dtype) for size in sizes)
    return {name: partial(way, first, second) for name, way in WAYS[kind].items()}


def choices(dtype: torch.dtype) -> dict[str, str]:
    """All choices of training in a dtype, by what they are for: what a run's numbers depend on in their last digits."""
    return {
        f"{kind}, {width}, {height}": choose(kind, dtype, *samples[0])
        for kind in WAYS
        for (width, height), samples in SAMPLES.items()
    }


def product(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu_first: bool = False) -> Tensor:
    """Multiply (..., I) by a matrix (O, I) and add a bias (O,), with gradients, in the fastest ways.

    On other devices, under a compiler, and where nothing is learned this is PyTorch's own product.

    Args:
        x: (..., I).
        weight: (O, I).
        bias: (O,).
        gelu_first: whether to multiply GELU(x) in place of x. Of the two, a CPU keeps only x for the backward pass.
    """
    learned = torch.is_grad_enabled() and (weight.requires_grad or x.requires_grad)
    if not learned or not is_host(x.device) or torch.compiler.is_compiling():
        return F.linear(F.gelu(x) if gelu_first else x, weight, bias)
    dtype = torch.get_autocast_dtype(HOST.type) if torch.is_autocast_enabled(HOST.type) else x.dtype
    outputs, inputs = weight.shape
    ways = [choose(kind, dtype, x.numel() // inputs, inputs, outputs) for kind in WAYS]
    if gelu_first or any(way != "plain" for way in ways):
        bias = None if bias is None else bias.to(dtype)
        return LearnedProduct.apply(x.to(dtype), weight.to(dtype), bias, gelu_first, ways)
    return F.linear(x, weight, bias)


class LearnedProduct(torch.autograd.Function):
    """A product and its two gradients on a CPU, each in its own way: `ways` are their names, in the order of `WAYS`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gelu_first: bool, ways: Sequence[str]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias, ctx.gelu_first = bias is not None, gelu_first
        forward, *ctx.ways = ways
        return FORWARD[forward](F.gelu(x) if gelu_first else x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:  # noqa: D102
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grads = grad.reshape(-1, grad.shape[-1])  # (R, O)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = INPUT_GRADIENT[ctx.ways[0]](grad, weight)
            if ctx.gelu_first:
                grad_x = torch.ops.aten.gelu_backward(grad_x, x)
        if ctx.needs_input_grad[1]:
            rows = (F.gelu(x) if ctx.gelu_first else x).reshape(-1, x.shape[-1])  # (R, I)
            grad_weight = WEIGHT_GRADIENT[ctx.ways[1]](grads, rows)
        return grad_x, grad_weight, grads.sum(dim=0) if ctx.has_bias else None, None, None
