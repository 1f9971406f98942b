"""Our network in data2vec 2.0's terms: the settings that fairseq and FunASR build their model from.

D: model width.
"""

from __future__ import annotations

from typing import Any

from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import DecoderConfig, Emotion2vecConfig

_MASKED_SHARE, _MASKED_MORE, _MASK_SPAN, _VIEWS = 0.5, 0.05, 5, 8
_EMA_START, _EMA_END, _EMA_UPDATES, _TARGET_BLOCKS = 0.999, 0.99999, 20_000, 8
"""Settings of the published base recipe's objective; checkpoints do not say with which ones they were trained."""

_MIN_POSITION_KERNEL = 3
"""fairseq makes no smaller positional convolution, whatever its settings say."""


def model_settings(source: Source) -> dict[str, Any]:
    """Settings of fairseq's `data2vec_multi` (fairseq, examples/data2vec) that build this network, plain values only.

    What only training reads (masks, targets, EMA decay) is not in a checkpoint; those settings are the base recipe's.

    Raises:
        CheckpointError: dimensions that these settings cannot say, all listed.
    """
    config = source.own
    faults = _unsayable(config)
    if faults:
        raise CheckpointError(f"{source.path}: fairseq's data2vec 2.0 cannot hold this model: {'; '.join(faults)}")
    return {
        "loss_beta": 0.0,
        "loss_scale": None,
        "depth": config.depth,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_heads": config.heads,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "encoder_dropout": config.dropout,
        "post_mlp_drop": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": 0.0,
        "dropout_input": 0.0,
        "layerdrop": config.layerdrop,
        "embed_dim": config.width,
        "mlp_ratio": config.ffn_width / config.width,
        "layer_norm_first": False,
        "average_top_k_layers": min(_TARGET_BLOCKS, config.depth),
        "end_of_block_targets": False,
        "clone_batch": _VIEWS,
        "layer_norm_target_layer": False,
        "batch_norm_target_layer": False,
        "instance_norm_target_layer": True,
        "instance_norm_targets": False,
        "layer_norm_targets": False,
        "ema_decay": _EMA_START,
        "ema_same_dtype": True,
        "log_norms": True,
        "ema_end_decay": _EMA_END,
        "ema_anneal_end_step": _EMA_UPDATES,
        "ema_encoder_only": False,
        "max_update": 100_000,
        "modalities": {"audio": _audio_settings(source)},
        "shared_decoder": None,
        "min_target_var": 0.1,
        "min_pred_var": 0.01,
        "supported_modality": "AUDIO",
        "mae_init": False,
        "seed": 0,
        "skip_ema": not source.teacher,
        "cls_loss": 0.0,
        "recon_loss": 0.0,
        "d2v_loss": 1.0,
        "decoder_group": False,
    }


def _audio_settings(source: Source) -> dict[str, Any]:
    config = source.own
    decoder = source.decoder_config if source.decoder else None
    layers = [(config.channels, k, s) for k, s in zip(config.kernels, config.strides, strict=True)]
    return {
        "type": "AUDIO",
        "prenet_depth": config.prenet_depth,
        "prenet_layerdrop": config.layerdrop,
        "prenet_dropout": config.dropout,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_extra_tokens": config.tokens,
        "init_extra_token_zero": True,
        "mask_noise_std": (decoder or DecoderConfig()).mask_noise,
        "mask_prob_min": None,
        "mask_prob": _MASKED_SHARE,
        "inverse_mask": False,
        "mask_prob_adjust": _MASKED_MORE,
        "keep_masked_pct": 0.0,
        "mask_length": _MASK_SPAN,
        "add_masks": False,
        "remove_masks": False,
        "mask_dropout": 0.0,
        "encoder_zero_mask": True,
        "mask_channel_prob": 0.0,
        "mask_channel_length": 64,
        "ema_local_encoder": any(name.startswith("frontend.") for name in source.teacher),
        "local_grad_mult": 1.0,
        "use_alibi_encoder": True,
        "alibi_scale": 1.0,
        "learned_alibi": False,
        "alibi_max_pos": None,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": config.heads,
        "model_depth": config.depth,
        "decoder": None
        if decoder is None
        else {
            "decoder_dim": decoder.width,
            "decoder_groups": decoder.groups,
            "decoder_kernel": decoder.kernel,
            "decoder_layers": decoder.layers,
            "input_dropout": decoder.input_dropout,
            "add_positions_masked": False,
            "add_positions_all": False,
            "decoder_residual": True,
            "projection_layers": 1,
            "projection_ratio": 2.0,
        },
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": str(layers),
        "conv_pos_width": config.position_width,
        "conv_pos_groups": config.position_groups,
        "conv_pos_depth": config.position_layers,
        "conv_pos_pre_ln": False,
    }


def _unsayable(config: Emotion2vecConfig) -> list[str]:
    kind = {"frontend": "waveform", "norm": "post", "final_norm": False, "positions": "convolution"}
    faults = [
        f"{name} is {getattr(config, name)!r}, expected {only!r}"
        for name, only in kind.items()
        if getattr(config, name) != only
    ]
    if faults:
        return faults
    if int(config.width * (config.ffn_width / config.width)) != config.ffn_width:
        faults.append(f"ffn_width is {config.ffn_width}, which is no ratio of width {config.width}")
    kernel = config.position_width // config.position_layers
    if kernel < _MIN_POSITION_KERNEL:
        faults.append(f"the positional convolutions' kernel is {kernel}, expected at least {_MIN_POSITION_KERNEL}")
    return faults
