"""In fairseq's environment: load a checkpoint as fairseq does, and save the features of clips.

usage: fairseq_features.py CHECKPOINT CLIPS.npz OUTPUT.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from stand_ins import hashable_dataclasses, stand_in

stand_in("torchaudio", "torchvision", "timm", "PIL")
import fairseq  # noqa: E402
import timm.models.vision_transformer as timm_layers  # noqa: E402
from fairseq import checkpoint_utils  # noqa: E402

sys.modules.pop("examples", None)  # any folder of that name on the path
sys.path.insert(0, str(Path(fairseq.__file__).parent))  # where pip's package has `examples`


class Mlp(torch.nn.Module):
    """What timm calls Mlp: two Linear layers with an activation between."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[torch.nn.Module], drop: float):
        super().__init__()
        self.fc1 = torch.nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = torch.nn.Linear(hidden_features, in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


timm_layers.Mlp = Mlp  # the one layer of timm's that a block uses; stochastic depth is off
with hashable_dataclasses():
    import examples.data2vec.models.data2vec2  # noqa: F401 (registers the model)


def main(checkpoint: str, clips: str, output: str) -> None:
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task([checkpoint])
    model = models[0].eval()
    features = {}
    with torch.no_grad():
        for name, samples in np.load(clips).items():
            waveform = torch.from_numpy(samples)
            source = F.layer_norm(waveform, waveform.shape).unsqueeze(0)
            out = model.extract_features(source, mode=None, padding_mask=None, mask=False, remove_extra_tokens=True)
            features[name] = out["x"][0].numpy()
    teacher = {} if model.ema is None else {f"teacher/{k}": v.numpy() for k, v in model.ema.model.state_dict().items()}
    np.savez(output, **features, **teacher)


if __name__ == "__main__":
    main(*sys.argv[1:])
