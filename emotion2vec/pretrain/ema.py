"""The teacher: an exponential moving average of the student.

B: utterances. S: samples. T: frames. D: model width.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from emotion2vec.model.backbone import BackboneOutput
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.pretrain.config import EmaConfig


class Teacher(nn.Module):
    """Float32 EMA copy of the student's backbone and, if `frontend`, of its CNN and projection too.

    It is always in eval mode and never has gradients.
    """

    def __init__(self, student: Emotion2vec, *, frontend: bool):
        super().__init__()
        self.frontend = copy.deepcopy(student.frontend) if frontend else None
        self.backbone = copy.deepcopy(student.backbone)
        self.float().requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode, whatever the module around it does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, local: Tensor) -> BackboneOutput:
        """See the whole utterance, unmasked.

        Args:
            waveforms: (B, S); seen only by a teacher with its own front end.
            local: (B, T, D) the student's local features; seen by a teacher without.
        """
        return self.backbone(local.detach() if self.frontend is None else self.frontend(waveforms))

    @torch.no_grad()
    def update(self, student: Emotion2vec, decay: float) -> None:
        """Move every weight: teacher ← decay · teacher + (1 − decay) · student."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.backbone, student.backbone)]
        if self.frontend is not None:
            pairs.append((self.frontend, student.frontend))
        mine = [_local(p) for pair in pairs for p in pair[0].parameters()]
        theirs = [_local(p) for pair in pairs for p in pair[1].parameters()]
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)


def ema_decay(update: int, config: EmaConfig) -> float:
    """Decay of the teacher after one update: linear from `decay` to `end_decay` over `anneal_updates`."""
    if update >= config.anneal_updates:
        return config.end_decay
    return config.decay + (config.end_decay - config.decay) * update / config.anneal_updates


def _local(parameter: Tensor) -> Tensor:
    """What this process holds of a parameter that may be sharded; teacher and student are sharded alike."""
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter
