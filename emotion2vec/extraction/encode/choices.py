"""Which features a job wants: layers, block or FFN outputs, frames or utterances, their rate and dtype.

T: frames. D: model width. L: layers. N: utterance tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emotion2vec.documents import read_json
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import ArraySpec, Layout
from emotion2vec.model.config import EncoderConfig
from emotion2vec.settings import option

GRANULARITIES = ("frame", "utterance", "both")
OUTPUTS = ("block", "ffn")
POOLINGS = ("mean", "mean+std", "tokens")
DOWNSAMPLINGS = ("mean", "skip")
DTYPES = ("float32", "float16")

Layers = str | int | Sequence[int]
"""`last`, `all`, a block's number from 0 (prenet first; negative from the end), several ([0, 4] or `0,4`), `mean:N`
(the mean of the last N), or `weights:FILE` (a JSON list with one weight per block)."""


@dataclass(frozen=True, kw_only=True)
class FeatureChoice:
    """Which features a job wants.

    Frames are ([L,] T, D); their summary over time is ([L,] D), with `mean+std` ([L,] 2 D), and as `tokens` (N, D). All
    layers and several put the dimension L in front; see `Layers`. `ffn` outputs are those before the residual and norm,
    of the main blocks only, which are counted from 0 at the first of them.
    """

    granularity: str = option("frame", "frame (50 vectors per second), utterance (a summary over time), or both.")
    layers: Layers = option(
        "last", "last, all, block numbers from 0 such as 2,5, mean:N for the last N, or weights:FILE."
    )
    features: str = option("block", "block outputs, or ffn outputs of the main blocks.")
    pooling: str = option("mean", "The summary over time: mean, mean+std or tokens.")
    downsample: int = option(1, "Frames that become one vector.")
    downsample_by: str = option("mean", "Their mean, or skip to take the first of them.")
    dtype: str = option("float32", "float32 or float16 on disk.")

    @property
    def wants_frames(self) -> bool:
        """Whether frames are kept."""
        return self.granularity != "utterance"

    @property
    def wants_utterance(self) -> bool:
        """Whether a summary over time is kept."""
        return self.granularity != "frame"

    @property
    def last_block(self) -> bool:
        """Whether the output of the last block is all that is needed, at frames or utterance tokens."""
        return self.features == "block" and read_layers(self.layers).numbers == [-1]

    def faults(self) -> list[str]:
        """What is wrong with the choice, whatever the model."""
        choices = (
            ("granularity", self.granularity, GRANULARITIES),
            ("features", self.features, OUTPUTS),
            ("pooling", self.pooling, POOLINGS),
            ("downsample_by", self.downsample_by, DOWNSAMPLINGS),
            ("dtype", self.dtype, DTYPES),
        )
        faults = [
            f"{key} is {value!r}, expected {' or '.join(all_)}" for key, value, all_ in choices if value not in all_
        ]
        if isinstance(self.downsample, bool) or not isinstance(self.downsample, int) or self.downsample < 1:
            faults.append(f"downsample is {self.downsample!r}, expected 1 or more frames")
        try:
            read_layers(self.layers)
        except ConfigError as error:
            faults.append(str(error))
        if self.pooling == "tokens" and self.wants_utterance and (self.layers != "last" or self.features != "block"):
            faults.append("pooling is 'tokens', which needs layers last and features block")
        return faults

    def vectors(self, frames: int) -> int:
        """Vectors that T frames become."""
        return -(-frames // self.downsample)


class LayerChoice(NamedTuple):
    """Blocks by number from 0, whether their dimension is kept, and the weights (L,) of their sum, if it is taken."""

    numbers: list[int]
    stacked: bool
    mix: np.ndarray | None


class LayerSpec(NamedTuple):
    """A choice of layers as it was read, for a model of any depth; one of the four is given.

    Attributes:
        numbers: blocks, negative from the end.
        last: the mean of so many.
        weights: one per block (L,), which sum to 1.
        all: every block.
    """

    numbers: list[int] | None = None
    last: int | None = None
    weights: np.ndarray | None = None
    all: bool = False


def read_layers(layers: Layers) -> LayerSpec:
    """Read a choice of layers, before any model is known.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(layers, str) and layers.startswith("weights:"):
        return LayerSpec(weights=_read_weights(Path(layers.removeprefix("weights:"))))
    try:
        if layers == "all":
            return LayerSpec(all=True)
        if isinstance(layers, str) and layers.startswith("mean:"):
            last = int(layers.removeprefix("mean:"))
            if last >= 1:
                return LayerSpec(last=last)
        elif layers == "last":
            return LayerSpec([-1])
        else:
            parts = layers.split(",") if isinstance(layers, str) else [layers] if isinstance(layers, int) else layers
            if numbers := [int(part) for part in parts]:
                return LayerSpec(numbers)
    except (TypeError, ValueError):
        pass
    raise ConfigError(_layer_fault(layers))


def choose_layers(layers: Layers, depth: int) -> LayerChoice:
    """Resolve a choice of layers among `depth` blocks.

    Raises:
        ConfigError: it is none, or names blocks that do not exist.
    """
    spec, blocks = read_layers(layers), list(range(depth))
    if spec.weights is not None:
        if len(spec.weights) != depth:
            raise ConfigError(f"layers is {layers!r}, which holds {len(spec.weights)} weights, expected {depth}")
        return LayerChoice(blocks, False, spec.weights)
    if spec.all:
        return LayerChoice(blocks, True, None)
    if spec.last is not None and spec.last <= depth:
        return LayerChoice(blocks[-spec.last :], False, np.full(spec.last, 1 / spec.last, np.float32))
    if spec.numbers is not None and all(-depth <= number < depth for number in spec.numbers):
        stacked = len(spec.numbers) > 1 if isinstance(layers, str) else not isinstance(layers, int)
        return LayerChoice([number % depth for number in spec.numbers], stacked, None)
    raise ConfigError(_layer_fault(layers, depth))


def _layer_fault(layers: Layers, depth: int | None = None) -> str:
    most = "" if depth is None else f" to {depth - 1}"
    upto = "" if depth is None else f" with N up to {depth}"
    return (
        f"layers is {layers!r}, expected last, all, block numbers from 0{most} such as 0,{(depth or 4) - 1}, "
        f"mean:N{upto}, or weights:FILE"
    )


def _read_weights(path: Path) -> np.ndarray:
    """Read one weight per block (L,) from a JSON list, and divide by their sum."""
    try:
        weights = np.asarray(read_json(path), dtype=np.float64)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"layers: {path} cannot be read as a JSON list of weights: {error}") from error
    if weights.ndim != 1 or not np.isfinite(weights).all() or weights.sum() <= 0:
        raise ConfigError(f"layers: {path} holds {weights.tolist()}, expected numbers with a positive sum")
    return (weights / weights.sum()).astype(np.float32)


def layout_of(choice: FeatureChoice, config: EncoderConfig) -> tuple[Layout, LayerChoice]:
    """What the arrays of a job look like for a model, and the blocks that they come from.

    Raises:
        ConfigError: the model has no such layers, or no tokens.
    """
    if choice.features == "ffn" and not config.ffn_depth:
        raise ConfigError("features is 'ffn', but the model gives the outputs of its blocks alone, expected 'block'")
    depth = config.ffn_depth if choice.features == "ffn" else config.prenet_depth + config.depth
    layers = choose_layers(choice.layers, depth)
    front = (len(layers.numbers),) if layers.stacked else ()
    dtype = np.dtype(choice.dtype)
    layout: Layout = {}
    if choice.wants_frames:
        layout["frames"] = ArraySpec((*front, None, config.width), dtype)
    if choice.wants_utterance:
        if choice.pooling == "tokens":
            if not config.tokens:
                raise ConfigError("pooling is 'tokens', but the model has no utterance tokens")
            layout["utterance"] = ArraySpec((config.tokens, config.width), dtype)
        else:
            layout["utterance"] = ArraySpec((*front, config.width * (2 if "+" in choice.pooling else 1)), dtype)
    return layout, layers
