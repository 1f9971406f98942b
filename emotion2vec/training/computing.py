"""What a run computes with: device, precision and libraries, which its numbers depend on in their last digits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from emotion2vec.devices import is_host
from emotion2vec.hardware import best_precision, describe_precision
from emotion2vec.model.cpu.products import choices
from emotion2vec.processors import instruction_sets, processor

if TYPE_CHECKING:
    from lightning.fabric import Fabric

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "32-true": torch.float32}
"""Type of products by Fabric's name of a precision."""
_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}


@dataclass(frozen=True)
class Computing:
    """What one process computes with.

    Attributes:
        device: its name.
        precision: `fp32`, `bf16` or `fp16`.
        reason: why, in words.
        products: on a CPU, the way of each kind of product.
    """

    device: str
    precision: str
    reason: str
    products: dict[str, str]

    def sentence(self) -> str:
        """One line for the user."""
        return f"computing in {self.precision} on {self.device}; {self.reason}"

    def facts(self) -> dict[str, Any]:
        """What is kept beside a run."""
        return asdict(self)

    def changes(self, before: dict[str, Any]) -> list[str]:
        """What is different from the facts of an earlier process."""
        old, new = before.get("products") or {}, self.products
        pairs = {name: (before.get(name), getattr(self, name)) for name in ("device", "precision")}
        pairs |= {name: (old.get(name), new.get(name)) for name in sorted({*old, *new})}
        return [f"{name} was {then} and is {now}" for name, (then, now) in pairs.items() if then != now]


def compute_dtype(fabric: Fabric) -> torch.dtype:
    """Type of the products of a run."""
    return DTYPES[str(getattr(fabric.strategy.precision, "precision", "32-true"))]


def describe_computing(wanted: str, fabric: Fabric) -> Computing:
    """What this process computes with.

    Args:
        wanted: `run.precision`.
        fabric: devices and precision, set up.
    """
    device, dtype = fabric.device, compute_dtype(fabric)
    precision = _NAMES[dtype]
    if wanted == "auto":
        reason = describe_precision(precision, device)
    elif precision == "bf16" and best_precision(device) == "fp32":
        reason = f"run.precision is bf16, but {describe_precision('fp32', device)}: auto or fp32 is faster here"
    else:
        reason = "as run.precision says"
    if not is_host(device):
        module = torch.get_device_module(device)
        name = module.get_device_name(device) if hasattr(module, "get_device_name") else str(device)
        return Computing(name, precision, reason, {})
    return Computing(f"{processor()} ({' '.join(instruction_sets())})", precision, reason, choices(dtype))
