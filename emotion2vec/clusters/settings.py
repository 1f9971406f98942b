"""Which frames are clustered, into how many, and what of them a model is to say: settings, light to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from emotion2vec.settings import option

MOST_CLUSTERS = 1 << 16
"""What the numbers that labels are stored in can tell apart."""


@dataclass(kw_only=True)
class ClusterSettings:
    """K-means over frames, by mini-batches (Sculley, 2010): once for each of `layers` and each of `counts`."""

    layers: list[int] = option(
        [],
        "blocks whose frames are clustered, counted from 1; empty for those at half and three quarters, and the last",
        ge=1,
    )
    counts: list[int] = option(
        [100], "clusters K of each layer; several give each frame several labels", ge=2, le=MOST_CLUSTERS
    )
    batch: int = option(10_000, "frames of a mini-batch, which memory has to hold of all layers", ge=100)
    passes: int = option(2, "passes over the audio that clusters are fitted to", ge=1)
    starts: int = option(3, "k-means++ starts on the first mini-batch, of which the best goes on", ge=1)
    hours: float = option(0.0, "audio that clusters are fitted to at most, drawn clip by clip, in h; 0 for all", ge=0)
    standardize: bool = option(True, "standardize channels by the statistics of the first mini-batch")


@dataclass(kw_only=True)
class HiddenSettings:
    """Which frames a model does not see while it learns to say their clusters (HuBERT; Hsu et al., 2021)."""

    share: float = option(0.5, "share of the frames that are hidden, in spans; 0 for none", ge=0, lt=1)
    span: int = option(10, "frames of a span", ge=1)
    seen: float = option(0.0, "weight of the frames that are not hidden, where others are", ge=0)


@dataclass(frozen=True)
class Scale:
    """One labelling of frames: by which block, counted from 1, and into how many clusters."""

    layer: int
    count: int

    @property
    def name(self) -> str:
        """Of files' tensors and of what is logged."""
        return f"layer{self.layer}_k{self.count}"

    @property
    def shown(self) -> str:
        """In words."""
        return f"layer {self.layer}, K = {self.count}"


def usual_layers(depth: int) -> list[int]:
    """Which of so many blocks are clustered where none is named: 6, 9 and 12 of 12, 2 and 3 of 3."""
    return sorted({-(-depth // 2), -(-3 * depth // 4), depth})


def scales_of(settings: ClusterSettings) -> list[Scale]:
    """All of them, layer by layer; of settings that name their layers."""
    return [Scale(layer, count) for layer, count in product(sorted(settings.layers), sorted(settings.counts))]


def check_clusters(settings: ClusterSettings, prefix: str) -> list[str]:
    """List what is wrong among the settings; `prefix` is of the names in messages."""
    faults = []
    for name in ("layers", "counts"):
        values: Sequence[int] = getattr(settings, name)
        if len(set(values)) < len(values):
            faults.append(f"{prefix}{name} is {values}, expected each number once")
    if not settings.counts:
        faults.append(f"{prefix}counts is empty, expected at least one number")
    elif max(settings.counts) > settings.batch:
        faults.append(
            f"{prefix}counts has {max(settings.counts)} and {prefix}batch is {settings.batch}, expected at least as "
            "many frames as clusters"
        )
    return faults
