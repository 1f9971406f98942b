"""Numbers of one update over all its micro-batches and all processes. R: rows. D: channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from emotion2vec.devices import exact_device

T = TypeVar("T")


@dataclass(frozen=True)
class UpdateSize:
    """What an update holds over all its micro-batches and processes; known before anything is computed.

    Attributes:
        counts: what its losses are means over, see `Objective.counts`.
        seconds: audio in s.
        offered: audio in s before batches were cropped to their shortest.
    """

    counts: dict[str, float]
    seconds: float
    offered: float


@dataclass
class Moments:
    """Sums over rows from which a standard deviation over a whole update is computed.

    Attributes:
        count: () rows.
        total: (D,) their sum.
        square: (D,) sum of their squares.
    """

    count: Tensor
    total: Tensor
    square: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        """Sum up (R, D) rows in float64, on the host where their device has none."""
        x = x.detach().to(exact_device(x.device))
        # Filled on the device: copying the number there would make the host wait.
        count = torch.full((), x.shape[0], dtype=torch.float64, device=x.device)
        return cls(count, x.sum(dim=0, dtype=torch.float64), x.float().square().sum(dim=0, dtype=torch.float64))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.square + other.square)

    def variance(self) -> Tensor:
        """Unbiased variance of each channel, (D,)."""
        spread = (self.square - self.total.square() / self.count).clamp(min=0)
        return spread / (self.count - 1).clamp(min=1)

    def std(self) -> Tensor:
        """Mean over channels of √(variance + 1e-6), data2vec 2.0's measure of collapse, ()."""
        return (self.variance() + 1e-6).sqrt().mean()


def short(value: float) -> float:
    """A number with the digits that are logged of it."""
    return float(f"{value:.6g}")


def exact(tensor: Tensor) -> Tensor:
    """A tensor in float64, on the host where its device has none."""
    return tensor.to(exact_device(tensor.device)).double()


def reduced(sums: T, add_up: Callable[[Tensor], Tensor]) -> T:
    """A dataclass of tensors of one dtype, see `mapped`, summed over all processes in one transfer."""
    parts = list(_tensors(sums))
    total = add_up(torch.cat([part.reshape(-1) for part in parts]))
    totals = iter(total.split([part.numel() for part in parts]))
    whole: T = mapped(sums, lambda part: next(totals).view_as(part))
    return whole


def detached(output: T) -> T:
    """A dataclass whose tensors, see `mapped`, are cut off their graph, which is freed; others stay as they are."""
    whole: T = mapped(output, Tensor.detach)
    return whole


def to_host(metrics: dict[str, Tensor | float]) -> dict[str, float]:
    """Fetch all values with one wait for the device."""
    names = [name for name, value in metrics.items() if isinstance(value, Tensor)]
    if not names:
        return {name: float(value) for name, value in metrics.items()}
    values = torch.stack([exact(torch.as_tensor(metrics[name])) for name in names]).tolist()
    return {name: float(value) for name, value in (metrics | dict(zip(names, values, strict=True))).items()}


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors of a structure, in its order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure, of dataclasses and of dictionaries, with other tensors; what is neither stays as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: mapped(item, change) for name, item in value.items()}
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return dataclasses.replace(
        value, **{item.name: mapped(getattr(value, item.name), change) for item in dataclasses.fields(value)}
    )
