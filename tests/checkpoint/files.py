"""Checkpoints of other tools, of the structure and names that theirs have, with weights of our own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emotion2vec.checkpoint.formats.data2vec.names import state_to_fairseq
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.decoder import Decoder

LABELS = ["生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other", "难过/sad",
          "吃惊/surprised", "<unk>"]  # fmt: skip
# Width and heads are small; everything that decides names and shapes otherwise is as published.
LAYOUTS = {
    "base": {"width": 48, "heads": 12, "prenet_depth": 4, "depth": 8},
    "plus-seed": {"width": 48, "heads": 12, "prenet_depth": 4, "depth": 8},
    "plus-base": {"width": 48, "heads": 12, "prenet_depth": 4, "depth": 8},
    "plus-large": {"width": 64, "heads": 16, "prenet_depth": 8, "depth": 16},
}


def network(labels: tuple[str, ...] = (), **dimensions: Any) -> Emotion2vec:
    """A small network with every weight random."""
    values = {"channels": 8, "width": 48, "heads": 12, "ffn_width": 4 * dimensions.get("width", 48), **dimensions}
    torch.manual_seed(0)
    model = Emotion2vec(Emotion2vecConfig(**values), labels)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1)
    return model.eval()


def decoder_of(model: Emotion2vec) -> Decoder:
    """A decoder beside it."""
    config = PretrainConfig().decoder
    config.width = 32
    return Decoder(config, model.config.width)


def state(model: Emotion2vec, *, wrapper: str = "", decoder: Decoder | None = None) -> dict[str, Tensor]:
    """The model's state under fairseq's names; the wrapper is in front of all but the head's."""
    decoders = {f"decoder.{name}": value for name, value in decoder.state_dict().items()} if decoder else {}
    named = state_to_fairseq(model.state_dict() | decoders)
    return {name if name.startswith("proj.") else wrapper + name: value for name, value in named.items()}


def settings(config: Emotion2vecConfig) -> dict[str, Any]:
    """Section `model` of fairseq's configuration, as far as it describes the network."""
    channels = config.channels
    return {
        "_name": "data2vec_multi",
        "embed_dim": config.width,
        "num_heads": config.heads,
        "depth": config.depth,
        "mlp_ratio": config.ffn_width / config.width,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "layer_norm_first": False,
        "encoder_dropout": 0.1,
        "post_mlp_drop": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "dropout_input": 0.0,
        "layerdrop": 0.05,
        "end_of_block_targets": False,
        "supported_modality": "AUDIO",
        "modalities": {
            "audio": {
                "type": "AUDIO",
                "prenet_depth": config.prenet_depth,
                "prenet_layerdrop": 0.05,
                "prenet_dropout": 0.1,
                "num_extra_tokens": config.tokens,
                "use_alibi_encoder": True,
                "learned_alibi": False,
                "alibi_max_pos": None,
                "learned_alibi_scale": True,
                "learned_alibi_scale_per_head": True,
                "learned_alibi_scale_per_layer": False,
                "num_alibi_heads": "${model.num_heads}",
                "model_depth": "${model.depth}",
                "extractor_mode": "layer_norm",
                "feature_encoder_spec": f"[({channels}, 10, 5)] + [({channels}, 3, 2)] * 4 + [({channels},2,2)] * 2",
                "conv_pos_width": 95,
                "conv_pos_groups": 16,
                "conv_pos_depth": 5,
                "conv_pos_pre_ln": False,
                "decoder": {"decoder_dim": 32, "decoder_groups": 16, "decoder_kernel": 7, "decoder_layers": 4},
            }
        },
    }
