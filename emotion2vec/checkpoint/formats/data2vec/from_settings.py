"""Settings of fairseq's data2vec 2.0 models in our terms; what our network does not implement is refused by name."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.config import Emotion2vecConfig, model_config
from emotion2vec.settings import fault_list

_AUDIO = "model.modalities.audio."
# Settings of the network that have one value here.
_FIXED: dict[str, dict[str, Any]] = {
    "model.": {"layer_norm_first": False, "norm_eps": 1e-5, "norm_affine": True},
    _AUDIO: {
        "extractor_mode": "layer_norm",
        "conv_pos_pre_ln": False,
        "use_alibi_encoder": True,
        "learned_alibi": False,
        "alibi_max_pos": None,
        "learned_alibi_scale_per_layer": False,
    },
    "task.": {"normalize": True, "sample_rate": SAMPLE_RATE},
}
_ACTIVATIONS = ("activation_fn", "activation", "hidden_act")
_FIXED_DECODER = {
    "add_positions_masked": False,
    "add_positions_all": False,
    "decoder_residual": True,
    "projection_layers": 1,
}
# Settings of training that ours does not have: off, or else noted.
_OFF = ("start_drop_path_rate", "end_drop_path_rate", "activation_dropout", "dropout_input", "end_of_block_targets")
# Settings of training that share one of ours.
_DROPOUTS = ("model.encoder_dropout", "model.post_mlp_drop", _AUDIO + "prenet_dropout")
_LAYERDROPS = ("model.layerdrop", _AUDIO + "prenet_layerdrop")
# fairseq's enum of modalities, by number where only that is kept.
_MODALITIES = {1: "AUDIO", 2: "IMAGE", 3: "TEXT"}


@dataclass
class Settings:
    """The sections of fairseq's configuration that describe a model; all empty for a file without configuration.

    Attributes:
        model: section `model`.
        audio: section `model.modalities.audio`.
        task: section `task`.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    audio: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)

    def get(self, dotted: str) -> Any:
        """The value of `model.depth` and the like; None where there is none."""
        prefix, _, key = dotted.rpartition(".")
        return self.section(prefix + ".").get(key)

    def section(self, prefix: str) -> Mapping[str, Any]:
        """The section of a prefix such as `model.`."""
        return {"model.": self.model, _AUDIO: self.audio, "task.": self.task}[prefix]


def find_settings(content: Mapping[str, Any]) -> Settings:
    """Find the settings of the network in a checkpoint's plain content: under `cfg`, or `args` as long ago."""
    for configuration in (_section(content, "cfg"), _section(content, "args")):
        model = _section(configuration, "model")
        # Fine-tuned models keep the configuration that they were pretrained with inside their own.
        inner = [_section(_section(model, key), "model") for key in ("pretrained_model_args", "w2v_args", "d2v_args")]
        for candidate in (model, configuration, *inner):
            if audio := _section(_section(candidate, "modalities"), "audio"):
                return Settings(candidate, audio, _section(configuration, "task"))
    return Settings()


def _section(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = parent.get(key)
    return section if isinstance(section, Mapping) else {}


def translate(settings: Settings, source: str, notes: list[str]) -> Emotion2vecConfig:
    """Translate fairseq's settings of a network into ours.

    Args:
        settings: what `find_settings` found.
        source: the file's name, for messages.
        notes: gets what concerns only training and differs here.

    Raises:
        CheckpointError: every setting that our network does not implement, with its value and what is supported.
    """
    faults = _unsupported(settings)
    values = _dimensions(settings, faults)
    if faults:
        raise CheckpointError(fault_list(f"{source}, settings that are not implemented", faults))
    notes += _training_notes(settings)
    try:
        return model_config({key: value for key, value in values.items() if value is not None}, source)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _unsupported(settings: Settings) -> list[str]:
    faults = [
        f"{prefix}{key} is {settings.section(prefix)[key]!r}, supported: {value!r}"
        for prefix, fixed in _FIXED.items()
        for key, value in fixed.items()
        if key in settings.section(prefix) and settings.section(prefix)[key] != value
    ]
    for name in (f"model.{key}" for key in _ACTIVATIONS):
        if settings.get(name) not in (None, "gelu"):
            faults.append(f"{name} is {settings.get(name)!r}, supported: 'gelu'")
    for name in (_AUDIO + "type", "model.supported_modality"):
        kind = settings.get(name)
        kind = _MODALITIES.get(kind, kind) if isinstance(kind, int) else kind
        if kind is not None and str(kind).rpartition(".")[2] != "AUDIO":
            faults.append(f"{name} is {kind!r}, supported: 'AUDIO'")
    for key, twin in (("num_alibi_heads", "num_heads"), ("model_depth", "depth")):
        found, expected = settings.audio.get(key), settings.model.get(twin)
        if found not in (None, f"${{model.{twin}}}", expected):
            faults.append(f"{_AUDIO}{key} is {found!r}, supported: model.{twin} ({expected!r})")
    return faults


def _dimensions(settings: Settings, faults: list[str]) -> dict[str, Any]:
    ratio, spec = settings.model.get("mlp_ratio", 4), settings.audio.get("feature_encoder_spec")
    layers = cnn_layers(str(spec))
    for name in ("model.embed_dim", "model.num_heads", "model.depth", _AUDIO + "prenet_depth"):
        if not isinstance(settings.get(name), int):
            faults.append(f"{name} is {settings.get(name)!r}, expected a whole number")
    if not isinstance(ratio, int | float):
        faults.append(f"model.mlp_ratio is {ratio!r}, expected a number")
    if not layers or len({channels for channels, _, _ in layers}) > 1:
        faults.append(
            f"{_AUDIO}feature_encoder_spec is {spec!r}, supported: layers of (channels, kernel, stride), all with the "
            "same channels"
        )
    if faults:
        return {}
    return {
        "channels": layers[0][0],
        "kernels": [kernel for _, kernel, _ in layers],
        "strides": [stride for _, _, stride in layers],
        "width": settings.model["embed_dim"],
        "heads": settings.model["num_heads"],
        "ffn_width": int(settings.model["embed_dim"] * ratio),
        "prenet_depth": settings.audio["prenet_depth"],
        "depth": settings.model["depth"],
        "tokens": settings.audio.get("num_extra_tokens", 0),
        "position_layers": settings.audio.get("conv_pos_depth"),
        "position_width": settings.audio.get("conv_pos_width"),
        "position_groups": settings.audio.get("conv_pos_groups"),
        "dropout": settings.model.get("encoder_dropout"),
        "attention_dropout": settings.model.get("attention_dropout"),
        "layerdrop": settings.model.get("layerdrop"),
    }


MOST_LAYERS = 100
"""Layers of a CNN are fewer."""


def cnn_layers(spec: str) -> list[tuple[int, int, int]]:
    """Read `[(512, 10, 5)] + [(512, 3, 2)] * 4` by its syntax, without evaluating it; empty for anything else."""

    def read(node: ast.expr) -> list[tuple[int, int, int]]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return read(node.left) + read(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            times, layers = ast.literal_eval(node.right), read(node.left)
            if not isinstance(times, int) or not 0 < times * max(1, len(layers)) < MOST_LAYERS:
                raise ValueError(f"more than {MOST_LAYERS} layers")
            return layers * times
        return [(int(channels), int(kernel), int(stride)) for channels, kernel, stride in ast.literal_eval(node)]

    try:
        layers = read(ast.parse(spec[:1000], mode="eval").body)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return []
    return layers if len(layers) < MOST_LAYERS else []


def _training_notes(settings: Settings) -> list[str]:
    notes = [
        f"{prefix}{key} is {settings.section(prefix)[key]}: a setting of training that is not taken over"
        for prefix in ("model.", _AUDIO)
        for key in _OFF
        if settings.section(prefix).get(key)
    ]
    for names, ours in ((_DROPOUTS, "dropout"), (_LAYERDROPS, "layerdrop")):
        found = {name: settings.get(name) for name in names if settings.get(name) is not None}
        if len(set(map(str, found.values()))) > 1:
            shown = ", ".join(f"{name} {value}" for name, value in found.items())
            notes.append(f"{shown}: {ours} takes the first for all")
    return notes


def decoder_faults(settings: Settings) -> list[str]:
    """Settings of the decoder that ours does not implement, with their values."""
    decoder = _section(settings.audio, "decoder")
    return [f"{key} {decoder[key]!r}" for key, value in _FIXED_DECODER.items() if decoder.get(key, value) != value]
