"""Accelerators for Lightning Fabric: those that it knows, and any other that PyTorch does."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.accelerators import Accelerator
from lightning.fabric.plugins import MixedPrecision
from lightning.fabric.strategies import SingleDeviceStrategy

from emotion2vec.devices import HOST, accelerator, choose_device, devices_here, is_host
from emotion2vec.errors import ConfigError
from emotion2vec.training.config import RunConfig

KNOWN = ("cpu", "cuda", "mps")
"""Kinds that Fabric has accelerators of its own for."""

SEVERAL = ("cpu", "cuda")
"""Kinds that gradients are exchanged between."""


def training_device(run: RunConfig, devices: int, processes: int) -> torch.device:
    """The device that `run.accelerator` names, or the kind of device where every process has its own.

    Args:
        run: the section of the configuration.
        devices: devices of this machine.
        processes: processes of the run on all machines.

    Raises:
        ConfigError: it is not here, there are not so many, or several of its kind cannot train together.
    """
    try:
        device = choose_device(run.accelerator)
    except ConfigError as error:
        raise ConfigError(
            f"run.accelerator is {run.accelerator}, which is not here; expected auto, {' or '.join(devices_here())}"
        ) from error
    if device.type not in SEVERAL and (processes > 1 or run.strategy != "ddp"):
        raise ConfigError(
            f"run.accelerator is {run.accelerator}, which trains on one device alone; expected run.devices=1, "
            f"run.nodes=1 and run.strategy=ddp, found {devices}, {processes // devices} and {run.strategy}"
        )
    if device.index is not None and processes > 1:
        raise ConfigError(
            f"run.accelerator is {run.accelerator}, one device, but the run has {processes} processes; expected "
            f"run.accelerator={device.type}"
        )
    if not is_host(device) and devices > (count := torch.accelerator.device_count()):
        raise ConfigError(f"run.devices is {devices}, but this machine has {count} {accelerator()} devices")
    return device


def fabric_arguments(device: torch.device, devices: int, precision: Any) -> dict[str, Any]:
    """What Fabric is told of the device and the precision.

    Args:
        device: see `training_device`.
        devices: devices of this machine, one process each.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
    """
    if device.type in KNOWN:
        chosen = devices if device.index is None or is_host(device) else [device.index]
        return {"accelerator": device.type, "devices": chosen, "precision": precision}
    mixed = {} if precision == "32-true" else {"plugins": [MixedPrecision(precision, device.type)]}
    return {"accelerator": OtherAccelerator(), "devices": 1, "strategy": SingleDeviceStrategy(device), **mixed}


class OtherAccelerator(Accelerator):
    """One device of a kind that Fabric does not know."""

    def setup_device(self, device: torch.device) -> None:
        """Make it the one that PyTorch means by its kind."""
        if device.index is not None:
            torch.accelerator.set_device_index(device.index)

    def teardown(self) -> None:
        """Leave it as it is."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """There is one."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """It by itself."""
        return [torch.device(accelerator() or HOST)]

    @staticmethod
    def auto_device_count() -> int:
        """One."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """As it has been chosen, it is here."""
        return True

    @staticmethod
    def name() -> str:
        """Its kind."""
        return accelerator() or HOST.type
