"""Networks of shapes alone, to be checked or to be given weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWN_INTO = {"normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"}
_DRAWN = {"rand", "randn"}


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Let networks that are made within have no numbers: nothing is allocated, and nothing is drawn."""
    with torch.device("meta"), Undrawn():
        yield


class Undrawn(TorchFunctionMode):
    """Leaves out the random numbers that networks made within would begin with.

    On `meta` PyTorch would import its compiler, which takes seconds, to draw none.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _DRAWN_INTO:
            return args[0] if args else kwargs["tensor"]
        if name in _DRAWN:
            kwargs.pop("generator", None)
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)
