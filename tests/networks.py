"""Small networks and configurations that several test files share."""

from __future__ import annotations

import torch

from emotion2vec.pretrain.config import PretrainConfig, load_config

TINY = [
    "model.channels=16",
    "model.width=32",
    "model.heads=4",
    "model.ffn_width=64",
    "model.prenet_depth=1",
    "model.depth=2",
    "model.position_groups=4",
    "model.dropout=0",
    "model.attention_dropout=0",
    "model.layerdrop=0",
    "mask.views=2",
    "decoder.width=16",
    "decoder.layers=2",
    "decoder.groups=4",
    "decoder.input_dropout=0",
    "decoder.mask_noise=0",
    "loss.top_k=2",
    "optim.warmup_updates=2",
    "optim.max_updates=4",
    "optim.accumulate=1",
    "optim.lr=1e-3",
    "data.batch_seconds=4",
    "data.max_samples=32000",
    "data.buckets=2",
    "data.workers=0",
    "run.precision=fp32",
    "run.accelerator=cpu",
    "data.train=unused",
    "run.dir=unused",
]


def tiny_config(*overrides: str) -> PretrainConfig:
    """A configuration of a network that takes milliseconds, without randomness in its layers."""
    return load_config(None, [*TINY, *overrides])


def waveforms(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Normalized noise (B, S)."""
    x = torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))
    return (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True, unbiased=False)
