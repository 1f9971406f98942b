"""Frames that an encoder's blocks do not see, for whoever teaches it to say what is there.

B: utterances. T: frames. D: width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hidden:
    """Frames that the blocks of an encoder do not see.

    Attributes:
        mask: (B, T), True where a frame is hidden.
        vector: (D,) what stands in its place, before positions are added.
    """

    mask: Tensor
    vector: Tensor

    def put(self, x: Tensor) -> Tensor:
        """The same frames (B, T, D), those that are hidden replaced."""
        return torch.where(self.mask.unsqueeze(2), self.vector.to(x.dtype), x)
