"""A network as it is outside of training, whatever mode its owner has it in."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def frozen(module: Module) -> Module:
    """A second face of a network, in eval mode: the same parameters, buffers and hooks, and none of them copied.

    The network itself is not touched, so that others may train it, or change its mode, at the same time. What is
    assigned to modules of the one, such as packed weights, is not seen by the other.
    """
    faces: dict[int, nn.Module] = {}

    def face(of: nn.Module) -> nn.Module:
        if id(of) not in faces:
            new = faces[id(of)] = copy.copy(of)
            new.__dict__["_modules"] = {
                name: None if child is None else face(child) for name, child in of._modules.items()
            }
            new.__dict__["training"] = False
        return faces[id(of)]

    return face(module)  # type: ignore[return-value]
