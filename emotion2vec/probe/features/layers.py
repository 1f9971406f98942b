"""Which layer of a network is probed, and the features of a clip at it.

T: frames, or tokens of a text. D: channels. L: layers. P: channels of a clip's vector.
"""

from __future__ import annotations

import re

import numpy as np

from emotion2vec.errors import ConfigError
from emotion2vec.model.features import Features
from emotion2vec.probe.features.extractor import ClipFeatures, pool

POOLINGS = ("mean", "mean+std")


def check_pooling(pooling: str | None) -> None:
    """Check how frames become a vector; None is the feature's usual way.

    Raises:
        ConfigError: it is not one of `POOLINGS`.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise ConfigError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")


def check_layer(layer: int | str) -> int | str:
    """Return a layer as `last`, `mean`, `mean:n`, `all` or a number, also from its text.

    Raises:
        ConfigError: it is none of these.
    """
    if layer in ("last", "mean", "all") or re.fullmatch(r"mean:[1-9]\d*", str(layer)):
        return layer
    try:
        return int(layer)
    except ValueError:
        raise ConfigError(f"layer is {layer!r}, expected last, mean, mean:N, all or a number") from None


def at_layer(features: Features, layer: int | str, pooling: str, name: str) -> ClipFeatures:
    """The chosen layer's frames and vector; `all` joins the vectors of all layers and has no frames.

    Args:
        features: of one clip, with `layers` unless the layer is `last`.
        layer: see `check_layer`.
        pooling: how frames become a vector, see `pool`.
        name: of the network, for messages.

    Raises:
        ConfigError: the network has no such layer.
    """
    if layer == "last":
        return ClipFeatures(pool(features.frames, pooling), features.frames)
    layers = features.layers  # (L, T, D)
    assert layers is not None
    if layer == "all":
        return ClipFeatures(np.concatenate([pool(one, pooling) for one in layers]), None, len(layers))  # (P,)
    if layer == "mean":
        frames = layers.mean(axis=0)  # (T, D)
    elif isinstance(layer, str):  # mean:n
        count = int(layer.partition(":")[2])
        if count > len(layers):
            raise ConfigError(f"layer is {layer!r}, but {name} has {len(layers)} layers")
        frames = layers[-count:].mean(axis=0)  # (T, D)
    else:
        if not -len(layers) <= layer < len(layers):
            raise ConfigError(f"layer is {layer}, but {name} has layers 0 to {len(layers) - 1}")
        frames = layers[layer]  # (T, D)
    return ClipFeatures(pool(frames, pooling), frames)
