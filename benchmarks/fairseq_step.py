"""One pretraining update of fairseq's data2vec 2.0 base, timed: the other side of `pretrain_step.py`, which starts it.

It runs under a Python that has fairseq-fixed, and imports nothing of this project.

B: utterances. M: views. S: samples. T: frames.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch


def hashable_dataclass(cls: Any = None, **options: Any) -> Any:
    """`dataclasses.dataclass`, whose classes in fairseq's examples can be hashed."""
    if cls is not None and cls.__module__.startswith("examples."):
        options = {"unsafe_hash": True} | options
    return _dataclass(cls, **options)


_dataclass = dataclasses.dataclass


class Mlp(torch.nn.Module):
    """What fairseq takes from timm: two Linear layers with GELU and dropout."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: Any, drop: float):
        super().__init__()
        self.fc1 = torch.nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = torch.nn.Linear(hidden_features, in_features)
        self.drop = torch.nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform (..., D)."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


def build_model() -> torch.nn.Module:
    """data2vec 2.0 base for audio with its published recipe, but no layerdrop, so that every step is alike."""
    import fairseq

    root = Path(fairseq.__file__).parent  # where the wheel keeps `examples`
    sys.path.insert(0, str(root))
    # Its configurations hold others as defaults, which Python 3.11 refuses of classes that cannot be hashed.
    dataclasses.dataclass = hashable_dataclass
    for name in ("data", "models"):  # without their __init__, which wants packages for images
        package = types.ModuleType(f"examples.data2vec.{name}")
        package.__path__ = [str(root / "examples" / "data2vec" / name)]
        sys.modules[package.__name__] = package
    for name in ("timm", "timm.models", "timm.models.layers", "timm.models.vision_transformer"):
        sys.modules[name] = MagicMock()  # for images, too
    sys.modules["timm.models.vision_transformer"].Mlp = Mlp
    sys.modules["timm.models.vision_transformer"].DropPath = lambda share: torch.nn.Identity()  # the recipe drops none
    from examples.data2vec.data.modality import Modality
    from examples.data2vec.models.data2vec2 import Data2VecMultiConfig, Data2VecMultiModel
    from omegaconf import OmegaConf

    config = OmegaConf.structured(Data2VecMultiConfig())
    changes: dict[str, Any] = {
        "depth": 8,
        "norm_eps": 1e-5,
        "clone_batch": 8,
        "instance_norm_target_layer": True,
        "ema_encoder_only": False,
        "ema_end_decay": 0.99999,
        "ema_anneal_end_step": 20_000,
        "max_update": 100_000,
        "seed": 0,
        "supported_modality": Modality.AUDIO,
        "modalities.audio.type": Modality.AUDIO,
        "modalities.audio.prenet_depth": 4,
        "modalities.audio.prenet_dropout": 0.1,
        "modalities.audio.num_extra_tokens": 10,
        "modalities.audio.mask_prob": 0.5,
        "modalities.audio.mask_prob_adjust": 0.05,
        "modalities.audio.mask_length": 5,
        "modalities.audio.mask_noise_std": 0.01,
        "modalities.audio.ema_local_encoder": False,
        "modalities.audio.use_alibi_encoder": True,
        "modalities.audio.learned_alibi_scale": True,
        "modalities.audio.learned_alibi_scale_per_head": True,
        "modalities.audio.num_alibi_heads": 12,
        "modalities.audio.model_depth": 8,
        "modalities.audio.conv_pos_depth": 5,
        "modalities.audio.conv_pos_width": 95,
        "modalities.audio.conv_pos_groups": 16,
        "modalities.audio.decoder.decoder_dim": 384,
        "modalities.audio.decoder.decoder_groups": 16,
        "modalities.audio.decoder.decoder_kernel": 7,
        "modalities.audio.decoder.decoder_layers": 4,
        "modalities.audio.decoder.input_dropout": 0.1,
    }
    for key, value in changes.items():
        OmegaConf.update(config, key, value)
    return Data2VecMultiModel.build_model(config, None)


def main(data: Path, steps: int) -> None:
    """Print one JSON line per step, with its seconds and processor seconds, the first step left out."""
    from fairseq.optim.adam import Adam

    torch.manual_seed(0)
    arrays = np.load(data)
    waveforms, mask = torch.from_numpy(arrays["waveforms"]), torch.from_numpy(arrays["mask"])  # (B, S), (B·M, T)
    model = build_model().train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = Adam(parameters, lr=7.5e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    for step in range(steps + 1):
        wall, processor = time.perf_counter(), time.process_time()
        output = model(waveforms, padding_mask=None, mask=True, precomputed_mask=mask)
        loss = sum(part.sum() for part in output["losses"].values()) / output["sample_size"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        model.set_num_updates(step + 1)  # moves the teacher
        times = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor}
        if step:
            print(json.dumps(times | {"loss": float(loss)}), flush=True)
    print(json.dumps({"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    main(Path(sys.argv[1]), int(sys.argv[2]))
