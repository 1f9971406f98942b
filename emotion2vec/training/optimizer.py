"""The optimizer and its parameter groups."""

from __future__ import annotations

import torch

from emotion2vec.config import OptimConfig
from emotion2vec.objective.pretrainer import Pretrainer


def build_optimizer(pretrainer: Pretrainer, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, the CNN in groups of its own.

    Biases, norms, ALiBi scale and other 1-d parameters are not decayed. `set_learning_rate` reads `lr_scale`.
    """
    cnn = {id(p) for p in pretrainer.student.frontend.layers.parameters()}
    groups = []
    for in_cnn, scale in ((False, 1.0), (True, config.cnn_lr_scale)):
        found = [p for p in pretrainer.parameters() if p.requires_grad and (id(p) in cnn) == in_cnn]
        for matrices, decay in ((True, config.weight_decay), (False, 0.0)):
            params = [p for p in found if (p.ndim > 1) == matrices]
            groups.append({"params": params, "weight_decay": decay, "lr_scale": scale})
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
