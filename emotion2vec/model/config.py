"""Dimensions of the networks: what checkpoints carry and all that inference needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from emotion2vec.audio.frames import KERNELS, SAMPLE_RATE, STRIDES, FrameGrid
from emotion2vec.audio.samples import NORMALIZE_EPS
from emotion2vec.errors import ConfigError
from emotion2vec.settings import build, check_ranges, fault_list, option

FRONTENDS = ("waveform", "logmel")
POSITIONS = ("convolution", "sinusoid")
NORMS = ("post", "pre")
FRAME_HEADS = ("mean", "two", "layers", "mlp", "attention", "statistics", "convolutions", "transformer", "gru", "fused")
ANGLES = ("cosine", "attentive-cosine")
"""Heads that tell classes apart by angles, which a margin is for."""
CROSS = "text-cross"
TEXT_HEADS = ("text-late", "text-concatenation", CROSS)
"""Heads that fuse what is heard with what is said, the last by its tokens."""
HEADS = (*FRAME_HEADS, *ANGLES, *TEXT_HEADS)
SYMBOLS = "symbols"
"""Task, and kind, of a head that names a symbol of each frame; never the main head of a model."""
POOLINGS = ("mean", "mean+std")


class EncoderConfig(Protocol):
    """What is read of an encoder's dimensions, whatever kind it is."""

    @property
    def width(self) -> int:
        """Channels D of a frame."""

    @property
    def prenet_depth(self) -> int:
        """Blocks that are never targets of pretraining, at the bottom."""

    @property
    def depth(self) -> int:
        """All other blocks."""

    @property
    def tokens(self) -> int:
        """Utterance tokens N."""

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie over the samples."""

    @property
    def max_frames(self) -> int:
        """Frames that the network knows to handle at once; 0 for any number."""

    @property
    def max_seconds(self) -> float:
        """Longest audio that the network knows to handle at once, in s; 0 for any length."""

    @property
    def normalizes(self) -> bool:
        """Whether utterances are brought to zero mean and unit variance before the network sees them."""

    @property
    def normalize_eps(self) -> float:
        """What is added to the variance then."""

    @property
    def pads(self) -> bool:
        """Whether padding costs the network nothing but time."""

    @property
    def ffn_depth(self) -> int:
        """Blocks, from the last one down, whose FFN outputs are given before the final residual and norm."""


@dataclass(kw_only=True)
class Emotion2vecConfig:
    """Dimensions of the network; what a checkpoint carries and all that inference needs."""

    frontend: str = option("waveform", "what the CNN sees: normalized samples, or log-mel bands", choices=FRONTENDS)
    mels: int = option(80, "mel bands of a log-mel front end", ge=1, le=200)
    channels: int = option(512, "CNN channels", ge=1, le=65_536)
    kernels: list[int] = option(list(KERNELS), "CNN kernels, in each layer's input steps", ge=1, le=100_000)
    strides: list[int] = option(list(STRIDES), "CNN strides, in each layer's input steps", ge=1, le=100_000)
    width: int = option(768, "model width D", ge=1, le=65_536)
    heads: int = option(12, "attention heads", ge=1, le=65_536)
    ffn_width: int = option(3072, "inner width of the feed-forward layers", ge=1, le=1_000_000)
    prenet_depth: int = option(4, "blocks of the context encoder, which are never targets", ge=0, le=10_000)
    depth: int = option(8, "main blocks", ge=1, le=10_000)
    tokens: int = option(10, "utterance tokens in front of the frames", ge=0, le=100_000)
    norm: str = option("post", "layer norm of blocks: post, after each residual, or pre", choices=NORMS)
    final_norm: bool = option(False, "layer norm after the last block, which pre-norm networks need")
    positions: str = option(
        "convolution", "how frames know their time: convolution, with ALiBi, or sinusoid, added", choices=POSITIONS
    )
    max_frames: int = option(
        0, "frames that the network knows to handle at once; 0 for any number", ge=0, le=2_000_000_000
    )
    position_layers: int = option(5, "stacked positional convolutions", ge=1, le=10_000)
    position_width: int = option(95, "frames that the positional convolutions share out as kernels", ge=1, le=100_000)
    position_groups: int = option(16, "groups of the positional convolutions", ge=1, le=65_536)
    dropout: float = option(0.1, "dropout after attention, after the FFN and before the prenet", ge=0, lt=1)
    attention_dropout: float = option(0.1, "dropout on attention weights", ge=0, lt=1)
    layerdrop: float = option(0.05, "probability of leaving a block out of an update", ge=0, lt=1)

    @property
    def grid(self) -> FrameGrid:
        """Where the frames lie over the samples."""
        of = FrameGrid.of_waveform if self.frontend == "waveform" else FrameGrid.of_mel
        return of(self.kernels, self.strides)

    @property
    def max_seconds(self) -> float:
        """Longest audio that the network knows to handle at once, in s; 0 for any length."""
        return self.max_frames * self.grid.stride / SAMPLE_RATE

    @property
    def normalizes(self) -> bool:
        """Whether utterances are brought to zero mean and unit variance before the network sees them."""
        return self.frontend == "waveform"

    @property
    def normalize_eps(self) -> float:
        """What is added to the variance then."""
        return NORMALIZE_EPS

    @property
    def pads(self) -> bool:
        """Whether padded frames can be hidden."""
        return True

    @property
    def ffn_depth(self) -> int:
        """Blocks whose FFN outputs are given: the main ones."""
        return self.depth


@dataclass(kw_only=True)
class HeadConfig:
    """Which head stands on an encoder; what a model folder says of it. Its width, layers and labels are the model's."""

    kind: str = option("mean", "how frames become scores", choices=(*HEADS, SYMBOLS))
    pooling: str = option(
        "mean",
        "what kinds mean, two, layers, cosine, text-late and text-concatenation read: the mean over time, or mean+std",
        choices=POOLINGS,
    )
    hidden: int = option(256, "inner width, of kinds that have one", ge=1)
    acoustic: list[int] = option(
        [], "blocks of the acoustic group of kind fused, counted from 1; empty for the lower third", ge=1
    )
    semantic: list[int] = option(
        [], "blocks of the semantic group of kinds fused and symbols; empty for the upper third", ge=1
    )
    text: str = option("", "text encoder of kinds that read texts: folder, or name on the hub")
    text_width: int = option(1, "channels of its tokens", ge=1)
    text_fingerprint: str = option("", "hash of its weights and tokenizer")
    task: str = option(
        "classes",
        "what scores are: of classes, values as they are, or numbers of symbols by frames",
        choices=("classes", "values", SYMBOLS),
    )

    def groups(self, layers: int) -> tuple[list[int], list[int]]:
        """Places of the acoustic and of the semantic blocks among so many, counted from 0.

        Raises:
            ConfigError: there are fewer blocks.
        """
        third = -(-layers // 3)
        found = []
        for name, blocks, usual in (
            ("acoustic", self.acoustic, range(third)),
            ("semantic", self.semantic, range(layers - third, layers)),
        ):
            if blocks and max(blocks) > layers:
                raise ConfigError(f"head.{name} has block {max(blocks)}, and the model has {layers}, counted from 1")
            found.append([number - 1 for number in blocks] or list(usual))
        return found[0], found[1]


@dataclass(frozen=True)
class FurtherHead:
    """A head beside the main one.

    Attributes:
        target: what it tells, such as `gender`.
        labels: names of its scores.
        config: which head it is.
    """

    target: str
    labels: tuple[str, ...]
    config: HeadConfig


@dataclass(kw_only=True)
class DecoderConfig:
    """Convolutional decoder that predicts the targets at masked frames."""

    width: int = option(384, "channels of the decoder's convolutions", ge=1)
    layers: int = option(4, "convolutions", ge=1)
    kernel: int = option(7, "kernel in frames, odd", ge=1)
    groups: int = option(16, "groups of the convolutions", ge=1)
    input_dropout: float = option(0.1, "dropout on the student's outputs", ge=0, lt=1)
    mask_noise: float = option(0.01, "standard deviation of the noise in place of masked frames", ge=0)


def model_config(values: Mapping[str, Any], source: str) -> Emotion2vecConfig:
    """Build and check the network's configuration from a checkpoint's plain mapping; `source` is for messages.

    Raises:
        ConfigError: all faults at once: unknown keys, wrong types, values out of range, combinations that cannot work.
    """
    faults: list[str] = []
    config: Emotion2vecConfig = build(Emotion2vecConfig, dict(values), faults)
    faults += check_ranges(config) + check_model(config, "")
    if faults:
        raise ConfigError(fault_list(source, faults))
    return config


def head_config(values: Mapping[str, Any], source: str) -> HeadConfig:
    """Build and check a head's configuration from a checkpoint's plain mapping; `source` is for messages.

    Raises:
        ConfigError: all faults at once.
    """
    faults: list[str] = []
    config: HeadConfig = build(HeadConfig, dict(values), faults)
    faults += check_ranges(config)
    if faults:
        raise ConfigError(fault_list(source, faults))
    return config


def check_model(model: Emotion2vecConfig, prefix: str) -> list[str]:
    """List combinations of dimensions that cannot work; `prefix` is of the names in messages."""
    faults = []
    if model.heads > 0 and model.width % model.heads:
        faults.append(f"{prefix}width is {model.width}, expected a multiple of {prefix}heads ({model.heads})")
    if model.positions == "convolution":
        faults += _check_convolutions(model, prefix)
    elif model.width % 2:
        faults.append(f"{prefix}width is {model.width}, expected an even one for sinusoids")
    if model.frontend == "logmel" and any(kernel % 2 == 0 for kernel in model.kernels):
        faults.append(
            f"{prefix}kernels is {model.kernels}, expected odd ones on mel frames, such as "
            f"{prefix}kernels=[3,3] {prefix}strides=[1,2] (Whisper's)"
        )
    if len(model.kernels) != len(model.strides) or not model.kernels:
        faults.append(
            f"{prefix}kernels has {len(model.kernels)} layers and {prefix}strides {len(model.strides)}, "
            "expected the same number, at least 1"
        )
    return faults


def _check_convolutions(model: Emotion2vecConfig, prefix: str) -> list[str]:
    faults = []
    if model.position_groups > 0 and model.width % model.position_groups:
        faults.append(
            f"{prefix}width is {model.width}, expected a multiple of {prefix}position_groups ({model.position_groups})"
        )
    if model.position_layers > 0 and (model.position_width // model.position_layers) % 2 == 0:
        faults.append(
            f"{prefix}position_width // {prefix}position_layers is {model.position_width // model.position_layers}, "
            "expected an odd kernel"
        )
    return faults
