"""What encoders of transformers are: their kind and settings, and the dimensions that follow from these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from emotion2vec.audio.frames import SAMPLE_RATE, FrameGrid
from emotion2vec.errors import CheckpointError, ConfigError

TYPES = (
    "wav2vec2",
    "hubert",
    "wavlm",
    "data2vec-audio",
    "wav2vec2-conformer",
    "unispeech",
    "unispeech-sat",
)
"""What `config.json` calls the encoders that we take: CNN on samples, then a Transformer."""

MASKED = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
"""Those in which padded frames can be hidden from the others, where nothing else forbids it.

In data2vec's stack of positional convolutions, and in the convolutions of a Conformer's blocks, they show.
"""

OFF = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0, "add_adapter": False}
"""Settings that are always these: who trains an encoder augments by himself, and reads the outputs of all blocks."""

_UNKEPT = {
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "model_type"),
    *("id2label", "label2id", "num_labels", "problem_type", "gradient_checkpointing", "finetuning_task"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_weighted_layer_sum", "classifier_proj_size"),
    "apply_spec_augment",
}


@dataclass(frozen=True)
class ForeignConfig:
    """An encoder of transformers; what is read of its dimensions is that of `EncoderConfig`.

    Attributes:
        type: which, one of `TYPES`.
        settings: of transformers' configuration, those that differ from its defaults.
        normalizes: whether utterances are brought to zero mean and unit variance before it hears them.
        width: channels D of a frame.
        depth: Transformer blocks L.
        kernels: of the CNN.
        strides: of the CNN.
        pads: whether padded frames can be hidden; otherwise utterances of each length are encoded by themselves.
        stable: whether transformers has a last norm behind the last block ("stable layer norm").
        last_norm: whether it is there; a cut network has none.
    """

    type: str
    settings: dict[str, Any]
    normalizes: bool
    width: int
    depth: int
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    pads: bool
    stable: bool
    last_norm: bool = True

    prenet_depth = 0
    tokens = 0
    max_frames = 0
    max_seconds = 0.0
    ffn_depth = 0
    normalize_eps = 1e-7

    @property
    def conformer(self) -> bool:
        """Whether its blocks are those of a Conformer."""
        return self.type == "wav2vec2-conformer"

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie over the samples."""
        return FrameGrid.of_waveform(self.kernels, self.strides)

    def facts(self) -> dict[str, Any]:
        """What a user should know of it."""
        return {
            "type": self.type,
            "width": self.width,
            "depth": self.depth,
            "kernels": list(self.kernels),
            "strides": list(self.strides),
            "normalizes": self.normalizes,
            "hides_padding": self.pads,
            "last_norm": self.stable and self.last_norm,
        }

    def described(self) -> dict[str, Any]:
        """What a model folder says of it, see `foreign_config`."""
        content = {"type": self.type, "normalizes": self.normalizes, "settings": self.settings}
        return content if self.last_norm else content | {"last_norm": False}


def transformers() -> Any:
    """The package transformers.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("transformers")
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ConfigError(
            "encoders of Hugging Face need the package transformers, which is not installed: "
            "pip install 'emotion2vec[transformers]'"
        ) from error


def foreign_config(type: Any, settings: Any, normalizes: Any, source: str, *, last_norm: Any = True) -> ForeignConfig:
    """Build and check the configuration of an encoder of transformers.

    Args:
        type: one of `TYPES`.
        settings: as `config.json` has them.
        normalizes: what the folder's feature extractor says.
        source: for messages.
        last_norm: see `ForeignConfig`.

    Raises:
        CheckpointError: transformers makes no such encoder of them.
        ConfigError: transformers is not installed.
    """
    if type not in TYPES or not isinstance(settings, Mapping) or not isinstance(normalizes, bool):
        raise CheckpointError(
            f"{source}: the encoder is of type {type!r} (normalizes {normalizes!r}), expected {', '.join(TYPES)}, with "
            "settings and true or false"
        )
    kept = {name: value for name, value in settings.items() if name not in _UNKEPT} | OFF
    kept = dict(sorted(kept.items()))
    full = transformers_config(type, kept, source)
    faults = [
        f"{name} is {getattr(full, name, None)!r}"
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        if not (isinstance(getattr(full, name, None), int) and getattr(full, name) > 0)
    ]
    kernels, strides = tuple(full.conv_kernel), tuple(full.conv_stride)
    if not kernels or len(kernels) != len(strides) or not all(isinstance(n, int) and n > 0 for n in kernels + strides):
        faults.append(f"conv_kernel is {list(kernels)} and conv_stride {list(strides)}")
    if faults:
        raise CheckpointError(f"{source}: {'; '.join(faults)}; expected the dimensions of a speech encoder")
    group_norm = getattr(full, "feat_extract_norm", "layer") == "group"
    batch_norm = bool(getattr(full, "conv_pos_batch_norm", False))
    conformer = type == "wav2vec2-conformer"
    return ForeignConfig(
        type=type,
        settings=kept,
        normalizes=normalizes,
        width=full.hidden_size,
        depth=full.num_hidden_layers,
        kernels=kernels,
        strides=strides,
        pads=type in MASKED and not group_norm and not batch_norm,
        stable=conformer or bool(getattr(full, "do_stable_layer_norm", False)),
        last_norm=bool(last_norm),
    )


def transformers_config(type: str, settings: Mapping[str, Any], source: str) -> Any:
    """The configuration as transformers has it.

    Raises:
        CheckpointError: transformers refuses the settings.
        ConfigError: transformers is not installed.
    """
    auto = transformers().AutoConfig
    try:
        return auto.for_model(type, **settings)
    except Exception as error:  # the classes check themselves in different ways
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{source}: transformers makes no {type} of these settings: {reason}") from error


def sampling_fault(rate: Any) -> str | None:
    """What is wrong with a feature extractor's sampling rate; None for nothing."""
    return None if rate == SAMPLE_RATE else f"sampling_rate is {rate!r}, expected {SAMPLE_RATE}"
