"""Which features a job wants: layers, block or FFN outputs, frames or utterances, their rate and dtype.

T: frames. D: model width. L: layers. N: utterance tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emotion2vec.config import Emotion2vecConfig
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.arrays import ArraySpec, Layout

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

    Attributes:
        granularity: `frame` for ([L,] T, D), `utterance` for their summary over time, or `both`.
        layers: see `Layers`; `all` and several put a dimension L in front.
        features: `block` outputs, or `ffn` outputs before the residual and norm, of the main blocks only (counted from
            0 at the first main block).
        pooling: the summary over time: `mean` ([L,] D), `mean+std` ([L,] 2 D), or the utterance `tokens` (N, D).
        downsample: frames that become one vector.
        downsample_by: their `mean`, or `skip` for the first of them.
        dtype: `float32` or `float16`, in which features are kept; they are computed in float32 or as `precision` says.
    """

    granularity: str = "frame"
    layers: Layers = "last"
    features: str = "block"
    pooling: str = "mean"
    downsample: int = 1
    downsample_by: str = "mean"
    dtype: str = "float32"

    @property
    def wants_frames(self) -> bool:
        """Whether frames are kept."""
        return self.granularity != "utterance"

    @property
    def wants_utterance(self) -> bool:
        """Whether a summary over time is kept."""
        return self.granularity != "frame"

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


def choose_layers(layers: Layers, depth: int) -> LayerChoice:
    """Resolve a choice of layers among `depth` blocks.

    Raises:
        ConfigError: it is none, or names blocks that do not exist.
    """
    if isinstance(layers, str) and layers.startswith("weights:"):
        return LayerChoice(list(range(depth)), False, _read_weights(Path(layers.removeprefix("weights:")), depth))
    numbers: list[int] = []
    stacked, mix = not isinstance(layers, int), None
    try:
        if layers == "all":
            numbers = list(range(depth))
        elif layers == "last":
            numbers, stacked = [-1], False
        elif isinstance(layers, str) and layers.startswith("mean:"):
            count = int(layers.removeprefix("mean:"))
            numbers = list(range(depth))[-count:] if 1 <= count <= depth else []
            stacked, mix = False, np.full(len(numbers), 1 / max(len(numbers), 1), np.float32)
        elif isinstance(layers, str):
            numbers = [int(part) for part in layers.split(",")]
            stacked = len(numbers) > 1
        else:
            numbers = [layers] if isinstance(layers, int) else [int(layer) for layer in layers]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(-depth <= number < depth for number in numbers):
        raise ConfigError(
            f"layers is {layers!r}, expected last, all, or block numbers from 0 to {depth - 1} such as 0,{depth - 1}, "
            f"mean:N with N up to {depth}, or weights:FILE"
        )
    return LayerChoice([number % depth for number in numbers], stacked, mix)


def _read_weights(path: Path, depth: int) -> np.ndarray:
    """Read one weight per block (L,) from a JSON list, and divide by their sum."""
    try:
        weights = np.asarray(json.loads(path.read_text(encoding="utf-8")), dtype=np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"layers: {path} cannot be read as a JSON list of weights: {error}") from error
    if weights.shape != (depth,) or not np.isfinite(weights).all() or weights.sum() <= 0:
        raise ConfigError(f"layers: {path} holds {weights.tolist()}, expected {depth} numbers with a positive sum")
    return (weights / weights.sum()).astype(np.float32)


def layout_of(choice: FeatureChoice, config: Emotion2vecConfig) -> tuple[Layout, LayerChoice]:
    """What the arrays of a job look like for a model, and the blocks that they come from.

    Raises:
        ConfigError: the model has no such layers, or no tokens.
    """
    depth = config.depth if choice.features == "ffn" else config.prenet_depth + config.depth
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
