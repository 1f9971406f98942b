"""Small encoders of transformers with random weights, in folders as the hub has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LAYER = {"feat_extract_norm": "layer", "conv_bias": True}
STABLE = LAYER | {"do_stable_layer_norm": True}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2 base": ("Wav2Vec2", {}),
    "wav2vec2 large": ("Wav2Vec2", STABLE),
    "hubert base": ("Hubert", {}),
    "hubert with batch norm": ("Hubert", LAYER | {"conv_pos_batch_norm": True}),
    "hubert large": ("Hubert", STABLE),
    "wavlm base": ("WavLM", {}),
    "wavlm large": ("WavLM", STABLE),
    "unispeech-sat": ("UniSpeechSat", LAYER),
    "data2vec-audio": ("Data2VecAudio", {"conv_pos_kernel_size": 19}),
    "conformer relative": ("Wav2Vec2Conformer", LAYER | {"position_embeddings_type": "relative"}),
    "conformer rotary": ("Wav2Vec2Conformer", LAYER | {"position_embeddings_type": "rotary"}),
}
PADDED = {"wav2vec2 large", "hubert large", "wavlm large", "unispeech-sat"}
"""Those whose padding can be hidden."""


def network(kind: str, task: str = "Model", **settings: Any) -> Any:
    """A model of transformers in eval mode, in which norms and biases take part."""
    transformers = pytest.importorskip("transformers")
    name, own = KINDS[kind]
    torch.manual_seed(0)
    model = getattr(transformers, name + task)(getattr(transformers, name + "Config")(**SMALL | own | settings)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def write_encoder(folder: Path, kind: str, task: str = "Model", **settings: Any) -> Any:
    """Write a folder of an encoder with its feature extractor; the model."""
    model = network(kind, task, **settings)
    model.save_pretrained(folder)
    extractor().save_pretrained(folder)
    return model


def extractor() -> Any:
    """What prepares audio for all of them."""
    return pytest.importorskip("transformers").Wav2Vec2FeatureExtractor(return_attention_mask=True)


def quiet_clip(samples: int, seed: int = 0) -> np.ndarray:
    """Noise (S,) so quiet that it shows what is added to the variance when it is normalized."""
    return (np.random.default_rng(seed).standard_normal(samples) * 0.003).astype(np.float32)


@torch.no_grad()
def expected_layers(model: Any, clip: np.ndarray) -> np.ndarray:
    """What transformers itself gives for a clip alone: the outputs (L, T, D) of all blocks, the last with its norm."""
    inputs = extractor()(clip, sampling_rate=16_000, return_tensors="pt").input_values
    output = model(inputs, output_hidden_states=True)
    return torch.cat([*output.hidden_states[1:-1], output.last_hidden_state]).numpy()
