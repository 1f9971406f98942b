"""Which network it is, by its configuration and weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_hash(model: nn.Module) -> str:
    """Hash a network's configuration and weights, ours or another library's: what its features depend on."""
    digest = hashlib.sha256(repr(getattr(model, "config", None)).encode())  # processors have instructions for it
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def dimensions_hash(model: nn.Module) -> str:
    """Hash a network's configuration alone: what its speed depends on."""
    return hashlib.sha256(repr(getattr(model, "config", None)).encode()).hexdigest()[:16]
