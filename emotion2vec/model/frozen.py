"""A network as it is outside of training, whatever mode its owner has it in."""

from __future__ import annotations

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
            new = faces[id(of)] = type(of).__new__(type(of))
            children = {name: None if child is None else face(child) for name, child in of._modules.items()}
            # What was compiled for the one belongs to the one.
            new.__dict__ = of.__dict__ | {"_modules": children, "training": False, "_compiled_call_impl": None}
        return faces[id(of)]

    return face(module)  # type: ignore[return-value]
