from __future__ import annotations

import numpy as np
import torch

from emotion2vec.audio.samples import normalize
from emotion2vec.extraction.sources.decoding import Waveform
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec

WIDTH, DEPTH = 24, 3


def tiny_model() -> Emotion2vec:
    """A tiny network whose every weight is random, so that no part of it is neutral."""
    torch.manual_seed(0)
    config = Emotion2vecConfig(
        channels=16, width=WIDTH, heads=3, ffn_width=32, prenet_depth=1, depth=DEPTH - 1, tokens=3,
        position_layers=2, position_width=10, position_groups=4,
    )  # fmt: skip
    model = Emotion2vec(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def speech(samples: int, seed: int = 0) -> np.ndarray:
    """Noise in bursts, (S,) float32: nothing in it repeats, so features of no two stretches are alike."""
    rng = np.random.default_rng(seed)
    envelope = np.abs(np.sin(np.arange(samples) / rng.uniform(500, 1500)))
    return (0.3 * envelope * rng.standard_normal(samples)).astype(np.float32)


def clip(samples: int, index: int = 0) -> Waveform:
    return Waveform(index, f"clip {index}", normalize(speech(samples, seed=index)))
