"""Which network it is, by its configuration and weights."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from emotion2vec.processors import available_processors


def weights_hash(model: nn.Module) -> str:
    """Hash a network's configuration and weights, ours or another library's: what its features depend on.

    The tensors are hashed side by side: with 94 million parameters this takes half a second of one core.
    """
    with ThreadPoolExecutor(available_processors()) as executor:
        tensors = list(executor.map(_tensor_hash, sorted(model.state_dict().items())))
    digest = hashlib.blake2b(repr(getattr(model, "config", None)).encode(), digest_size=32)
    for tensor in tensors:
        digest.update(tensor)
    return digest.hexdigest()


def _tensor_hash(named: tuple[str, Tensor]) -> bytes:
    name, tensor = named
    digest = hashlib.blake2b(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode(), digest_size=32)
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def dimensions_hash(model: nn.Module) -> str:
    """Hash a network's configuration alone: what its speed depends on."""
    return hashlib.sha256(repr(getattr(model, "config", None)).encode()).hexdigest()[:16]
