"""Devices, processes and precision: Lightning Fabric set up for a run, alone, under torchrun or under SLURM."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from emotion2vec.errors import ConfigError
from emotion2vec.hardware import best_precision, multiplies
from emotion2vec.training.config import RunConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch.distributed.device_mesh import DeviceMesh

Precision = Literal["bf16-mixed", "16-mixed", "32-true"]
_PRECISIONS: dict[str, Precision] = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def build_fabric(run: RunConfig, loggers: Sequence[Any] = (), *, find_unused: bool = False) -> Fabric:
    """Set up devices, processes, precision and loggers; `launch` of the result starts the processes.

    Args:
        run: the section of the configuration.
        loggers: of other tools.
        find_unused: whether an update may leave out parameters that train, the same ones on every rank.

    Raises:
        ConfigError: the devices are not there, or cannot compute in the precision.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning.fabric import Fabric

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    from emotion2vec.training.accelerators import fabric_arguments, training_device

    devices, nodes = process_grid(run)
    device = training_device(run, devices, devices * nodes)
    precision = _PRECISIONS[resolve_precision(run.precision, device)]
    arguments = {
        "strategy": _strategy(run.strategy, devices * nodes, find_unused),
        **fabric_arguments(device, devices, precision),
    }
    return Fabric(num_nodes=nodes, loggers=list(loggers), **arguments)


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn `auto` into the precision that the device was measured to be best at.

    Raises:
        ConfigError: fp16 elsewhere than with CUDA, or a dtype that the device lacks.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError("run.precision is fp16, whose loss scaling needs CUDA; expected auto, bf16 or fp32 elsewhere")
    if precision == "auto":
        return best_precision(device)
    if precision == "bf16" and not multiplies(torch.bfloat16, device):
        raise ConfigError(f"run.precision is bf16, which {device} cannot multiply; expected auto or fp32")
    return precision


def process_grid(run: RunConfig) -> tuple[int, int]:
    """Devices per machine and machines: what torchrun or SLURM started, else what the configuration says."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if "SLURM_PROCID" in os.environ and "SLURM_NTASKS" in os.environ:
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return max(1, int(os.environ["SLURM_NTASKS"]) // nodes), nodes
    return run.devices, run.nodes


def _strategy(kind: str, processes: int, find_unused: bool) -> Any:
    """The distributed strategy; one process with a whole model needs none."""
    from lightning.fabric.strategies import DDPStrategy, ModelParallelStrategy

    if kind == "fsdp":
        return ModelParallelStrategy(_shard, data_parallel_size=processes, tensor_parallel_size=1)
    if processes == 1:
        return "auto"
    return DDPStrategy(
        find_unused_parameters=find_unused,
        # Nothing but running statistics is a buffer, and objectives keep those equal.
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


def _shard(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard all that there is (FSDP2): each block by itself, the rest together.

    The parameters are cast by autocast, as with other strategies, so that masters and EMA stay float32.
    """
    from torch.distributed.fsdp import fully_shard

    from emotion2vec.model.transformer import Block

    data_parallel = mesh["data_parallel"]
    for module in network.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=data_parallel)
    fully_shard(network, mesh=data_parallel)
    return network


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, for which all processes must ask; one that is not sharded as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def forward_method(module: nn.Module, name: str) -> bool:
    """Let a method be called as `forward` is, also where weights are sharded and only then put together.

    Returns:
        Whether they are.
    """
    from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

    sharded = isinstance(module, FSDPModule)
    if sharded:
        register_fsdp_forward_method(module, name)
    return sharded
