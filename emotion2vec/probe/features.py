"""What is probed: named spectral baselines, untrained networks and models, all as one kind of extractor.

T: frames. D: channels of a frame. P: channels of a clip's vector. L: layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emotion2vec.assets import asset_folder
from emotion2vec.audio import load_audio
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.probe import spectral

if TYPE_CHECKING:
    from emotion2vec.config import Emotion2vecConfig

POOLINGS = ("mean", "mean+std")
UNTRAINED_SEED = 0
"""Seed of the random weights of `untrained`."""


@dataclass(frozen=True)
class ClipFeatures:
    """Features of one clip: its vector (P,), and its frames (T, D) unless the vectors of layers are joined."""

    vector: np.ndarray
    frames: np.ndarray | None


class Extractor(Protocol):
    """Turns an audio file into features; `fingerprint` names all that its numbers depend on beside the audio."""

    name: str
    fingerprint: str

    def __call__(self, path: Path) -> ClipFeatures:
        """Extract one clip.

        Raises:
            AudioError: the audio cannot be decoded or used.
        """
        ...


class SpectralExtractor:
    """Mean and standard deviation over time of log-mel or MFCC frames, as a vector and as the clip's only frame.

    The neural heads see the statistics too, for they are the stronger baseline: what a head makes of single spectra of
    25 ms, averaged over time, scores lower.
    """

    def __init__(self, name: str, compute: Callable[[np.ndarray], np.ndarray], pooling: str):
        self.name = name
        self.pooling = pooling
        self.fingerprint = f"{name} {pooling}"
        self._compute = compute

    def __call__(self, path: Path) -> ClipFeatures:
        """Extract one clip; see `Extractor`."""
        frames = self._compute(load_audio(path))  # (T, D)
        vector = pool(frames, self.pooling)  # (P,)
        return ClipFeatures(vector, vector[None])


class ModelExtractor:
    """Features of a network at one layer, at the mean of its layers, or the vectors of all layers joined."""

    def __init__(self, name: str, model: Any, layer: int | str, pooling: str):
        self.name = name
        self.fingerprint = f"{weights_hash(model)} layer={layer} {pooling}"
        self._model = model
        self._layer = layer
        self._pooling = pooling

    def __call__(self, path: Path) -> ClipFeatures:
        """Extract one clip; see `Extractor`. ConfigError: the network has no such layer."""
        features = self._model.extract_features(path, layers=self._layer != "last")
        if self._layer == "last":
            frames = features.frames  # (T, D)
        elif self._layer == "mean":
            frames = features.layers.mean(axis=0)  # (T, D)
        elif self._layer == "all":
            return ClipFeatures(np.concatenate([pool(layer, self._pooling) for layer in features.layers]), None)
        else:
            frames = features.layers[self._checked_index(len(features.layers))]  # (T, D)
        return ClipFeatures(pool(frames, self._pooling), frames)

    def _checked_index(self, layers: int) -> int:
        if not -layers <= int(self._layer) < layers:
            raise ConfigError(f"layer is {self._layer}, but {self.name} has layers 0 to {layers - 1}")
        return int(self._layer)


SPECTRAL = {"logmel": spectral.log_mel, "mfcc": spectral.mfcc}
KNOWN = "logmel, mfcc, untrained, untrained:MODEL_OR_CONFIG, or the path or name of a model"
DEFAULT_SHAPE = "tiny"
"""Shipped configuration whose shape `untrained` takes when no model is given."""


def make_extractor(
    feature: Any, *, model: Any = None, layer: int | str = "last", pooling: str | None = None, device: str = "cpu"
) -> Extractor:
    """Build the extractor of a named feature.

    Args:
        feature: `logmel`, `mfcc`, `untrained` (random weights in the shape of `model`, or of the `tiny`
            configuration), `untrained:NAME` (in the shape of that model, YAML file or shipped configuration), the path
            or name of a model, or a loaded model.
        model: path or loaded model whose shape `untrained` takes.
        layer: of a network: `last`, `mean` (of all layers), `all` (their vectors joined) or an index from 0, prenet
            first; negative counts from the end.
        pooling: how frames become a clip's vector, `mean` or `mean+std`; by default `mean+std` for spectra, `mean`
            for networks.
        device: where networks run.

    Raises:
        ConfigError: a feature, layer or pooling that is not known.
        CheckpointError: the model is there and cannot be loaded.
    """
    layer = check_layer(layer)
    if pooling is not None and pooling not in POOLINGS:
        raise ConfigError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
    if hasattr(feature, "extract_features"):
        return ModelExtractor(feature_name(feature), feature, layer, pooling or "mean")
    name = str(feature)
    if name in SPECTRAL:
        return SpectralExtractor(name, SPECTRAL[name], pooling or "mean+std")
    kind, _, source = name.partition(":")
    network = _untrained(_config_of(source or model or DEFAULT_SHAPE)) if kind == "untrained" else _load(name)
    return ModelExtractor(name, network.to(device), layer, pooling or "mean")


def feature_name(feature: Any) -> str:
    """Name a feature for tables and JSON: itself, or the class of a loaded model."""
    return type(feature).__name__ if hasattr(feature, "extract_features") else str(feature)


def check_layer(layer: int | str) -> int | str:
    """Return a layer as `last`, `mean`, `all` or a number, also from its text.

    Raises:
        ConfigError: it is none of these.
    """
    if layer in ("last", "mean", "all"):
        return layer
    try:
        return int(layer)
    except ValueError:
        raise ConfigError(f"layer is {layer!r}, expected last, mean, all or a number") from None


def pool(frames: np.ndarray, pooling: str) -> np.ndarray:
    """Summarize frames (T, D) over time: their mean (D,), or mean and standard deviation (2 D,), float32."""
    mean = frames.mean(axis=0, dtype=np.float64)
    if pooling == "mean":
        return mean.astype(np.float32)
    return np.concatenate([mean, frames.std(axis=0, dtype=np.float64)]).astype(np.float32)


def weights_hash(model: Any) -> str:
    """Hash a network's configuration and weights, so that cached features are found again only for the same network."""
    digest = hashlib.blake2b(repr(getattr(model, "config", None)).encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _load(name: str) -> Any:
    """Load a model; a name that is nothing at all is a mistake in the list of features."""
    from emotion2vec.checkpoint import load_model

    try:
        return load_model(name)
    except CheckpointError as error:
        if Path(name).exists():
            raise
        raise ConfigError(f"feature is {name!r}, which is neither a path nor a known name, expected {KNOWN}") from error


def _config_of(source: Any) -> Emotion2vecConfig:
    """The network configuration of a loaded model, a shipped configuration, a YAML file or a model."""
    if hasattr(source, "config"):
        return source.config
    shipped = asset_folder("configs") / "pretrain" / f"{source}.yaml"
    path = shipped if shipped.is_file() else Path(source)
    return _read_shape(path) if path.suffix in {".yaml", ".yml"} else _load(str(source)).config


def _read_shape(path: Path) -> Emotion2vecConfig:
    """The section `model` of a pretraining configuration, whatever its other sections lack."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from emotion2vec.config import model_config

    try:
        sections = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"untrained:{path}: cannot be read as a YAML configuration: {error}") from error
    values = sections.get("model") if isinstance(sections, dict) else None
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"untrained:{path}: model is {values!r}, expected a mapping")
    return model_config({str(key): value for key, value in (values or {}).items()}, str(path))


def _untrained(config: Emotion2vecConfig) -> Any:
    """A network with random weights, the same in every run, leaving the caller's random state alone."""
    import torch

    from emotion2vec.model.encoder import Emotion2vec

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return Emotion2vec(config).eval()
