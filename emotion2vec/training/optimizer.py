"""The optimizer: its parameter groups, and one step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import ConvLayer
from emotion2vec.model.transformer import Block
from emotion2vec.training.config import OptimConfig, TrainingConfig
from emotion2vec.training.objective import Objective, ParameterGroup
from emotion2vec.training.schedules import learning_rate
from emotion2vec.training.strategy import whole

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def build_optimizer(groups: Sequence[ParameterGroup], config: OptimConfig, *, fused: bool = True) -> torch.optim.AdamW:
    """AdamW over an objective's parameters.

    Biases, norms, ALiBi scale and other 1-d parameters are not decayed. `set_learning_rate` reads `lr_scale`. One
    `fused` kernel moves all parameters; fp16's loss scaling needs the plain ones.
    """
    split = [
        {"params": params, "weight_decay": decay, "lr_scale": group.lr_scale}
        for group in groups
        for matrices, decay in ((True, config.weight_decay), (False, 0.0))
        if (params := [p for p in group.parameters if (p.ndim > 1) == matrices])
    ]
    return torch.optim.AdamW(
        split,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=fused,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def compile_parts(network: nn.Module, backend: str = "inductor") -> None:
    """Compile what repeats: a Transformer block, once for all of them, and a layer of the CNN.

    Lengths are dynamic, so that a batch of another length compiles nothing anew. The parts between them hold indices
    and randomness that a compiler gains nothing from; compiled whole, every choice of layerdrop would be another graph.
    """
    for module in network.modules():
        if isinstance(module, Block | ConvLayer):
            module.compile(dynamic=True, backend=backend)


class Optimization:
    """Network and optimizer as Fabric holds them, and what happens between two updates.

    Attributes:
        network: the objective's, wrapped for its strategy and precision; call this one.
        optimizer: holds Adam's moments.
    """

    def __init__(self, config: TrainingConfig, fabric: Fabric, objective: Objective):
        self.config = config
        self.fabric = fabric
        self.objective = objective
        if isinstance(objective.model, Emotion2vec):  # those of others are refused where they are opened
            objective.model.backbone.recompute = config.run.checkpoint_activations
        if config.run.compile:
            compile_parts(objective.network)
        with warnings.catch_warnings():
            # The option's successor is not in all versions of PyTorch that are accepted.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
            self.network = fabric.setup_module(objective.network)
        # Built on the parameters as they are now: sharded ones are other tensors than those before.
        self.optimizer = build_optimizer(objective.parameter_groups(), config.optim, fused=self._scaler() is None)
        self._stepper: Any = fabric.setup_optimizers(self.optimizer)

    def gradient_norm(self) -> Tensor:
        """Norm of the gradients over all parameters; they are clipped to `optim.clip_norm` if that is asked for."""
        self.fabric.strategy.precision.unscale_gradients(self.optimizer)
        parameters = [p for p in self.objective.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.config.optim.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.optim.clip_norm, norm)
        return whole(norm)

    def overflowed(self, norm: float) -> bool:
        """Whether the gradients overflowed fp16, which its loss scaling expects now and then and answers by itself."""
        return self._scaler() is not None and not math.isfinite(norm)

    def step(self, update: int) -> None:
        """Move the parameters."""
        set_learning_rate(self.optimizer, learning_rate(update, self.config.optim))
        self._stepper.step()
        self.optimizer.zero_grad(set_to_none=True)

    def leave_out(self) -> None:
        """Drop the gradients of an update; loss scaling learns of them."""
        if (scaler := self._scaler()) is not None:
            scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def facts(self, update: int) -> dict[str, float]:
        """What the schedules say of an update, and the loss scale where there is one."""
        facts = {"lr": learning_rate(update, self.config.optim)} | self.objective.scheduled(update)
        scaler = self._scaler()
        return facts if scaler is None else facts | {"loss_scale": scaler.get_scale()}

    def scaler_state(self) -> dict[str, float] | None:
        """The loss scaling's state, None without it."""
        scaler = self._scaler()
        return None if scaler is None else scaler.state_dict()

    def load_scaler(self, state: dict[str, float] | None) -> None:
        """Take up a saved state of the loss scaling."""
        scaler = self._scaler()
        if scaler is not None and state:
            scaler.load_state_dict(state)

    def _scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self.fabric.strategy.precision, "scaler", None)
