"""Weights laid out once for the products of inference on a CPU, for as long as a job lasts.

A layout is a copy of the weights; the parameters stay what they are, and packed weights have no gradients.

R: rows. I: input channels. O: output channels. The leading dimensions (...) of an input are free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.devices import is_host
from emotion2vec.hardware import fastest, has_onednn, remembered, time_candidates
from emotion2vec.model.cpu.products import TOLERANCES, settled_choice

MARGIN = 1.05
"""How many times faster than PyTorch's layout another must be, for half and for twice the typical rows, to be taken."""
INT8_SAMPLE = (256, 768, 1536)
"""(R, I, O) of the product that tells what int8 brings."""
TYPICAL_ROWS = 256
"""Rows of the input, in frames, that a layout is chosen for; other numbers work as well."""
INT8_GAIN = 1.3
"""How many times faster than floating point a network in int8 must be to be worth its rounding."""


class PlainWeight:
    """A matrix (O, I) and a bias (O,) as PyTorch multiplies them, in a dtype of their own."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        self.dtype = dtype
        self._weight = weight.detach().to(dtype).contiguous()
        self._bias = None if bias is None else bias.detach().to(dtype)

    def __call__(self, x: Tensor, *, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        """Multiply (..., I) to (..., O), then apply GELU or add (..., O) if asked."""
        y = F.linear(x if x.dtype == self.dtype else x.to(self.dtype), self._weight, self._bias)
        return _finish(y, gelu, add) if gelu or add is not None else y


class TransposedWeight(PlainWeight):
    """The same, kept as (I, O): some libraries are faster when the second factor is not transposed."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__(weight, bias, dtype)
        self._weight = self._weight.t().contiguous()

    def __call__(self, x: Tensor, *, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        """Multiply (..., I) to (..., O), then apply GELU or add (..., O) if asked."""
        rows = x.to(self.dtype).reshape(-1, x.shape[-1])  # (R, I)
        if add is not None and self._bias is None and not gelu and add.dtype == self.dtype:
            y = torch.addmm(add.reshape(-1, add.shape[-1]), rows, self._weight)  # (R, O)
            return y.view(*x.shape[:-1], -1)
        y = rows @ self._weight if self._bias is None else torch.addmm(self._bias, rows, self._weight)
        return _finish(y.view(*x.shape[:-1], -1), gelu, add)


class OnednnWeight:
    """A matrix (O, I) and a bias (O,) in the layout that oneDNN wants."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        self.dtype = dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype).contiguous(), TYPICAL_ROWS)
        self._bias = None if bias is None else bias.detach().to(dtype)

    def __call__(self, x: Tensor, *, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        """Multiply (..., I) to (..., O), then apply GELU or add (..., O), all in one pass over memory."""
        x = x.to(self.dtype).contiguous()
        if add is not None and not gelu and add.dtype == self.dtype:
            multiply = torch.ops.mkldnn._linear_pointwise.binary
            return multiply(x, add.contiguous(), self._weight, self._bias, "add")
        y = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "gelu" if gelu else "none", [], "none" if gelu else ""
        )
        return _finish(y, False, add)


class Int8Weight:
    """A matrix (O, I) rounded to 8 bits per output channel, multiplied by inputs rounded to 8 bits per row.

    A row's scale is its own, so an utterance's features do not depend on what else is in its batch. Sums are int32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        weight = weight.detach().float()
        self._scales = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)  # (O,)
        rounded = (weight / self._scales.unsqueeze(1)).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [TYPICAL_ROWS, weight.shape[1]])
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = None if bias is None else bias.detach().float()

    def __call__(self, x: Tensor, *, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        """Multiply (..., I) to (..., O), then apply GELU or add (..., O) if asked."""
        rows = x.float().reshape(-1, x.shape[-1])  # (R, I)
        largest = torch.maximum(rows.amax(dim=1, keepdim=True), -rows.amin(dim=1, keepdim=True))
        scales = (largest / 127).clamp(min=1e-30)  # (R, 1)
        # oneDNN's fast kernel takes unsigned inputs: 128 stands for 0, and halves are rounded up.
        rounded = torch.addcmul(rows.new_tensor(128.5), rows, scales.reciprocal()).to(torch.uint8)
        y = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 128, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )  # (R, O)
        y = y.mul_(scales) if self._bias is None else torch.addcmul(self._bias, y, scales, out=y)
        return _finish(y.view(*x.shape[:-1], -1), gelu, add)


def _finish(y: Tensor, gelu: bool, add: Tensor | None) -> Tensor:
    """Apply GELU in place or add, where the product did not."""
    if gelu:
        torch.ops.aten.gelu_(y)
    return y if add is None else y.add_(add.to(y.dtype))


Packed = PlainWeight | OnednnWeight | Int8Weight
LAYOUTS: dict[str, type[PlainWeight] | type[OnednnWeight]] = {
    "plain": PlainWeight,
    "transposed": TransposedWeight,
    "onednn": OnednnWeight,
}
"""Layouts in floating point by name."""


def pack_weight(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, rows: int = TYPICAL_ROWS) -> Packed:
    """Lay out a matrix (O, I) and a bias (O,) in the way that is fastest here.

    Args:
        weight: (O, I).
        bias: (O,).
        dtype: float32, bfloat16, or int8, which multiplies rounded numbers.
        rows: of the inputs that it will be multiplied with, roughly.
    """
    if dtype == torch.int8:
        return Int8Weight(weight, bias)
    return LAYOUTS[choose_layout(dtype, rows, weight.shape[1], weight.shape[0])](weight, bias, dtype)


def choose_layout(dtype: torch.dtype, rows: int, inputs: int, outputs: int) -> str:
    """Name of the layout in `LAYOUTS` for a product of this size."""
    if (settled := settled_choice(dtype)) is not None:
        return settled
    name = f"layout for {rows} x {inputs} x {outputs} in {str(dtype).removeprefix('torch.')}"
    return fastest(
        name,
        lambda: (_candidates(dtype, (size, inputs, outputs)) for size in (rows // 2, rows * 2)),
        margin=MARGIN,
        tolerance=TOLERANCES[dtype],
    )


def layout_candidates(x: Tensor, weight: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Products of (R, I) and (O, I) with each layout; one that cannot be made fails when it runs."""
    made = {name: cache(partial(layout, weight, None, x.dtype)) for name, layout in LAYOUTS.items()}
    return {name: lambda make=make: make()(x) for name, make in made.items()}  # type: ignore[misc]


def _candidates(dtype: torch.dtype, shape: tuple[int, int, int]) -> dict[str, Callable[[], Tensor]]:
    """Products with each layout, of operands of a shape (R, I, O)."""
    rows, inputs, outputs = shape
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, generator=generator).to(dtype) for size in ((rows, inputs), (outputs, inputs)))
    return layout_candidates(x, weight)


@runtime_checkable
class Packable(Protocol):
    """A module whose weights can be packed."""

    def pack(self, dtype: torch.dtype | None) -> None:
        """Lay the weights out for products in `dtype`; None forgets the layout."""


def int8_product_gain() -> float:
    """How many times faster than floating point products in int8 are here; 0 where their sums are wrong.

    oneDNN adds pairs of products in 16 bits on processors without instructions for 8 bits, and large ones overflow.
    """
    if not hasattr(torch.ops.onednn, "qlinear_pointwise") or not has_onednn():
        return 0.0
    return float(remembered("gain of products in int8", _measure_int8))


def _measure_int8() -> float:
    rows, inputs, outputs = INT8_SAMPLE
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, generator=generator) for size in ((rows, inputs), (outputs, inputs)))
    with torch.no_grad():
        try:
            largest = Int8Weight(torch.full((outputs, inputs), 127.0), None)(torch.full((rows, inputs), 127.0))
        except (RuntimeError, NotImplementedError):
            return 0.0
        if not torch.allclose(largest, torch.tensor(127.0 * 127.0 * inputs), rtol=1e-5):
            return 0.0
        rounded = Int8Weight(weight, None)
        ways = layout_candidates(x, weight)
        seconds = time_candidates({**ways, "int8": lambda: rounded(x)}, tolerance=0.05)
    floating = min(value for name, value in seconds.items() if name != "int8")
    return round(floating / seconds["int8"], 3) if "int8" in seconds else 0.0


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights on this device can be packed for products in a dtype."""
    return is_host(device) and dtype in (torch.float32, torch.bfloat16, torch.int8)


@contextmanager
def packed(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Pack the weights of a network on a CPU, and forget the layouts at the end.

    A change of the weights in between would not be seen. Memory: one more copy of the weights in `dtype`.
    """
    try:
        pack(model, dtype)
        yield
    finally:
        pack(model, None)


def pack(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Pack the weights of a network on a CPU for as long as it is there; None forgets the layouts. See `packed`."""
    for module in model.modules():
        if isinstance(module, Packable):
            module.pack(dtype)
