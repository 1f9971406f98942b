"""A Linear layer with an adapter, as peft has it, in the places where our networks and those of transformers have one.

I: input channels. O: output channels. The leading dimensions (...) of an input are free.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from peft.tuners import lora
from torch import Tensor

from emotion2vec.errors import ConfigError

NAME = "default"
"""What peft calls an adapter that has no other name."""


class AdaptedLinear(lora.Linear):
    """peft's low-rank adapter beside a Linear layer: W x + α / r · B A x.

    Some networks do not call their layers and multiply by the weights themselves, as the attention of WavLM does in
    transformers. They get W + α / r · B A, through which A and B learn as well.
    """

    is_packed = False  # see `emotion2vec.model.linear.Linear`

    def forward(self, x: Tensor, *, gelu_first: bool = False, **rest: Any) -> Tensor:
        """Multiply (..., I) to (..., O); arguments as the layer alone takes them."""
        found: Tensor = super().forward(F.gelu(x) if gelu_first else x, **rest)
        return found

    @property
    def weight(self) -> Tensor:
        """The layer's weight (O, I) with what the adapter adds, with gradients.

        Raises:
            ConfigError: the adapter has dropout, which is of inputs, and whoever asks for the weight has these.
        """
        if self.training and not isinstance(self.lora_dropout[NAME], lora.layer.nn.Identity):
            raise ConfigError(
                "lora.dropout is on, and this network multiplies by the weights of adapted layers itself, which leaves "
                "no input to drop; expected lora.dropout=0, or lora.targets of its feed-forward layers"
            )
        layer: Any = self.get_base_layer()
        return merged(layer.weight, *self.matrices())

    def matrices(self) -> tuple[Tensor, Tensor, float]:
        """A (r, I), B (O, r) and α / r."""
        down: Any = self.lora_A[NAME]
        up: Any = self.lora_B[NAME]
        return down.weight, up.weight, self.scaling[NAME]


def merged(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """A weight (O, I) with its adapter's matrices A (r, I) and B (O, r) multiplied out (Hu et al. 2021)."""
    return weight + scale * (up @ down)
