"""Everything that a restart needs, taken from and given back to the parts of a run, whatever holds their shards.

Tensors are kept by the names of the parameters, so that a checkpoint fits any number of processes and any strategy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emotion2vec.checkpoint.weights import load_weights
from emotion2vec.errors import CheckpointError
from emotion2vec.training.objective import Objective
from emotion2vec.training.strategy import whole

if TYPE_CHECKING:
    from torch.optim import Optimizer

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")

_NETWORK, _OPTIMIZER, _RUN = "pretrainer.", "optimizer.", "run."
"""What names in `training.safetensors` start with: of the network beside the model, of Adam, of the objective."""


def model_tensors(objective: Objective, *, keep: bool) -> dict[str, Tensor]:
    """A copy of the model's weights in host memory; empty where `keep` is off.

    All processes must call this: sharded weights are put together.
    """
    return _host_copy(objective.saved_weights().items(), keep)


def training_tensors(objective: Objective, optimizer: Optimizer, *, keep: bool) -> dict[str, Tensor]:
    """A copy of all the rest: the network beside the model, Adam's moments, and the objective's own state."""
    tensors = {_NETWORK + name: value for name, value in _beside(objective).items()}
    for name, parameter in objective.network.named_parameters():
        for part, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{_OPTIMIZER}{part}.{name}"] = value
    return _host_copy((tensors | {_RUN + name: value for name, value in objective.state().items()}).items(), keep)


def _beside(objective: Objective) -> dict[str, Tensor]:
    """The network's tensors that are not the model's."""
    prefix = _model_prefix(objective)
    return {name: value for name, value in objective.network.state_dict().items() if not name.startswith(prefix)}


def _model_prefix(objective: Objective) -> str:
    """What the names of the model's weights start with in the network."""
    return next(f"{name}." for name, module in objective.network.named_modules() if module is objective.model)


def _host_copy(tensors: Iterable[tuple[str, Tensor]], keep: bool) -> dict[str, Tensor]:
    copies = {}
    for name, value in tensors:
        full = whole(value.detach())
        if keep:
            copies[name] = full.to("cpu", copy=True)
    return copies


def restore(
    objective: Objective,
    optimizer: Optimizer,
    weights: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    source: str,
) -> None:
    """Put back what `model_tensors` and `training_tensors` took.

    Args:
        objective: receives weights, running statistics and its state.
        optimizer: receives Adam's moments.
        weights: the model's.
        tensors: the rest.
        source: where they come from, for messages.

    Raises:
        CheckpointError: they do not fit.
    """
    prefix = _model_prefix(objective)
    state = {prefix + name: value for name, value in weights.items()} | _under(_NETWORK, tensors)
    own = {prefix + name: value for name, value in objective.own_weights().items()} | _beside(objective)
    load_weights(_Like(own), state, source)
    for name, parameter in objective.network.named_parameters():
        if f"{_OPTIMIZER}step.{name}" not in tensors:
            continue
        try:
            step, *moments = (tensors[f"{_OPTIMIZER}{part}.{name}"] for part in _MOMENTS)
        except KeyError as error:
            raise CheckpointError(f"{source}: the optimizer's state lacks {error}") from error
        optimizer.state[parameter] = {"step": step.to(parameter.device) if optimizer.defaults["fused"] else step} | {
            part: as_sharded(value, parameter) for part, value in zip(_MOMENTS[1:], moments, strict=True)
        }
    objective.load(_under(_RUN, tensors))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class _Like:
    """Stands in for a module when whole tensors are loaded into its own, sharded or not."""

    def __init__(self, tensors: dict[str, Tensor]):
        self._tensors = tensors

    def state_dict(self) -> dict[str, Tensor]:
        """The module's own."""
        return self._tensors

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy whole tensors into the module's, each process its part."""
        for name, value in self._tensors.items():
            value.copy_(as_sharded(state[name], value))


def as_sharded(value: Tensor, like: Any) -> Tensor:
    """Shard a whole tensor as `like` is, on its device."""
    value = value.to(like.device)
    if not hasattr(like, "device_mesh"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
