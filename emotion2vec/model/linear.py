"""`nn.Linear` with products that are fast on the device, in training and in inference.

I: input channels. O: output channels. The leading dimensions (...) of an input are free.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.model.cpu.packing import Packed, pack_weight
from emotion2vec.model.cpu.products import product


class Linear(nn.Linear):
    """`nn.Linear` whose weight can be packed for inference; the parameters stay what they are.

    Args:
        inputs: channels I.
        outputs: channels O.
        bias: whether there is one.
        int8: whether the weight may be rounded to 8 bits when a network is packed for int8; else it stays float32.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, *, int8: bool = True):
        super().__init__(inputs, outputs, bias)
        self.int8 = int8
        self._packed: Packed | None = None

    def pack(self, dtype: torch.dtype | None) -> None:
        """Lay the weight out for products in `dtype`; None forgets the layout."""
        if dtype == torch.int8 and not self.int8:
            dtype = torch.float32
        self._packed = None if dtype is None else pack_weight(self.weight, self.bias, dtype)

    @property
    def is_packed(self) -> bool:
        """Whether the weight is laid out for inference."""
        return self._packed is not None

    def forward(self, x: Tensor, *, gelu_first: bool = False, gelu: bool = False, add: Tensor | None = None) -> Tensor:
        """Multiply (..., I) to (..., O).

        Args:
            x: (..., I).
            gelu_first: apply GELU to `x` before. Cheap in training, see `product`.
            gelu: apply GELU afterwards. Cheap with a packed weight: it can be part of the product.
            add: (..., O), added at the end. Cheap with a packed weight.
        """
        if self._packed is not None:
            return self._packed(F.gelu(x) if gelu_first else x, gelu=gelu, add=add)
        x = product(x, self.weight, self.bias, gelu_first=gelu_first)
        x = F.gelu(x) if gelu else x
        return x if add is None else x + add
