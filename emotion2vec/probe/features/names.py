"""What the name of a feature means."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from emotion2vec.checkpoint.text import text_encoder
from emotion2vec.errors import ConfigError
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.probe.features import baselines
from emotion2vec.probe.features.combined import JOINT, CombinedFeatures
from emotion2vec.probe.features.extractor import Extractor
from emotion2vec.probe.features.layers import check_layer, check_pooling
from emotion2vec.probe.features.models import DEFAULT_SHAPE, ModelExtractor, load_named, untrained_like
from emotion2vec.probe.features.stored.matching import StoredFeatures
from emotion2vec.probe.features.stored.opening import is_feature_store
from emotion2vec.probe.features.text import TextExtractor
from emotion2vec.probe.features.waveforms import SPECTRA, WaveformExtractor, spectrum

OpenedFeature = Callable[[int | str, str | None], Extractor]
"""A feature whose network is in memory: gives its extractor at a layer and with a pooling, see `make_extractor`."""


def make_extractor(
    feature: Any, *, model: Any = None, layer: int | str = "last", pooling: str | None = None, device: str = "cpu"
) -> Extractor:
    """Build the extractor of a named feature.

    Args:
        feature: see `open_feature`.
        model: see `open_feature`.
        layer: of a network: `last`, `mean` (of all layers), `mean:n` (of the last n), `all` (their vectors joined) or
            an index from 0, prenet first; negative counts from the end.
        pooling: how frames become a clip's vector, `mean` or `mean+std`; by default `mean+std` for spectra, `mean`
            for networks.
        device: where networks run.

    Raises:
        ConfigError: a feature, layer or pooling that is not known.
        CheckpointError: the model is there and cannot be loaded.
    """
    layer = check_layer(layer)
    check_pooling(pooling)
    return open_feature(feature, model=model, device=device)(layer, pooling)


def open_feature(
    feature: Any, *, model: Any = None, device: str = "cpu", opened: dict[str, OpenedFeature] | None = None
) -> OpenedFeature:
    """Load what a named feature is made with, once for all layers and poolings.

    Args:
        feature: `logmel`, `mfcc`, `egemaps` (eGeMAPSv02 functionals), `untrained` (random weights in the shape of
            `model`, or of the `tiny` configuration), `untrained:NAME` (in the shape of that model, YAML file or shipped
            configuration), `torchaudio:BUNDLE`, `text:NAME_OR_FOLDER` (a Hugging Face text encoder, which reads what is
            said), features on disk (see `StoredFeatures`), the path or name of a model, of ours or of others
            (`hf:NAME_OR_FOLDER`; see `load_model`), a loaded model, or several of these names with `+` between them,
            whose vectors are joined.
        model: path or loaded model whose shape `untrained` takes.
        device: where networks run.
        opened: features by name that are open already; those that are opened now are added.

    Raises:
        ConfigError: a feature that is not known.
        CheckpointError: the model is there and cannot be loaded.
    """
    if hasattr(feature, "extract_features"):
        return partial(ModelExtractor, feature_name(feature), feature, weights_hash(feature))
    opened = {} if opened is None else opened
    names = _parts(str(feature))
    if not all(names):
        raise ConfigError(f"feature is {str(feature)!r}, expected features on both sides of {JOINT}")
    for name in names:
        if name not in opened:
            opened[name] = _open_named(name, model, device)
    parts = [opened[name] for name in names]
    if len(parts) == 1:
        return parts[0]
    return lambda layer, pooling: CombinedFeatures([part(layer, pooling) for part in parts])


def _open_named(name: str, model: Any, device: str) -> OpenedFeature:
    kind, _, source = name.partition(":")
    if name in SPECTRA:
        return lambda layer, pooling: spectrum(name, pooling)
    if name == "egemaps":
        functionals = WaveformExtractor(name, *baselines.egemaps())
        return lambda layer, pooling: functionals
    if kind == "text":
        return partial(TextExtractor, name, text_encoder(source, device))
    if is_feature_store(Path(name)):
        return lambda layer, pooling: StoredFeatures(Path(name), pooling)
    network: Any
    if kind == "torchaudio":
        network = baselines.torchaudio_bundle(source, device)
    elif kind == "untrained":
        network = untrained_like(source or model or DEFAULT_SHAPE).to(device)
    else:
        network = load_named(name).to(device)
    return partial(ModelExtractor, name, network, weights_hash(network))


def _parts(name: str) -> list[str]:
    """Names of the features that a name joins; a path may have the sign in it."""
    return [name] if Path(name).exists() else name.split(JOINT)


def reads_text(name: str) -> bool:
    """Whether a named feature, or one that it joins, is made of what is said; nothing is loaded to know it."""
    return any(part.startswith("text:") for part in _parts(name))


def feature_name(feature: Any) -> str:
    """Name a feature for tables and JSON: itself, or the class of a loaded model."""
    return type(feature).__name__ if hasattr(feature, "extract_features") else str(feature)
