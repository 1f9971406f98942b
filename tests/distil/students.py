"""Small teachers and configurations of students that the tests of distillation share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from networks import TINY

from emotion2vec.audio.frames import KERNELS, STRIDES
from emotion2vec.checkpoint.native import save_model
from emotion2vec.distil.checks import load_config
from emotion2vec.distil.config import DistilConfig
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.settings import build

LOGMEL: dict[str, object] = {
    "frontend": "logmel",
    "mels": 10,
    "kernels": [3, 3],
    "strides": [1, 2],
    "norm": "pre",
    "positions": "sinusoid",
    "tokens": 0,
    "prenet_depth": 0,
    "depth": 3,
}
WAVEFORM: dict[str, object] = {"frontend": "waveform", "kernels": list(KERNELS), "strides": list(STRIDES)}
WAVEFORM |= {"norm": "post", "positions": "convolution", "position_groups": 4, "tokens": 2}
WAVEFORM |= {"prenet_depth": 1, "depth": 2}
SMALL: dict[str, object] = {"channels": 16, "width": 24, "heads": 4, "ffn_width": 32, "final_norm": False}
SMALL |= {"max_frames": 0, "dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0}

STUDENT = [f"model.{key}={value}".replace(" ", "") for key, value in {**SMALL, **LOGMEL, "width": 16}.items()]
"""A student on mel frames, unlike all teachers in its width."""


def save_teacher(folder: Path, *, labels: Sequence[str] = (), seed: int = 7, **dimensions: object) -> Path:
    """A network of random weights, whose blocks say different things, as a model folder."""
    faults: list[str] = []
    config: Emotion2vecConfig = build(Emotion2vecConfig, {**SMALL, **dimensions}, faults)
    assert not faults
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Emotion2vec(config, labels)
        weights = {name: value + 0.1 * torch.randn_like(value) for name, value in network.state_dict().items()}
    save_model(folder, config, weights, labels=labels)
    return folder


def settings(teacher: Path, *more: str) -> list[str]:
    """A student that takes milliseconds, without randomness in its layers."""
    kept = [word for word in TINY if word.partition(".")[0] in ("optim", "data", "run")]
    return [*kept, *STUDENT, f"teacher={teacher}", "target.layers=[2,3]", "log.every=1", *more]


def student_config(teacher: Path, *more: str) -> DistilConfig:
    return load_config(None, settings(teacher, *more))
