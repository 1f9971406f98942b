"""What is probed: named spectral baselines, untrained networks and models, all as one kind of extractor.

T: frames. D: channels of a frame. P: channels of a clip's vector. L: layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion2vec.assets import asset_folder
from emotion2vec.audio import spectral
from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.corpora.clips import Clip
from emotion2vec.errors import AudioError, CheckpointError, ConfigError
from emotion2vec.probe.cache import ClipFeatures
from emotion2vec.probe.combined import JOINT, CombinedFeatures
from emotion2vec.probe.layers import at_layer, check_layer, check_pooling
from emotion2vec.probe.stored import StoredFeatures, pool
from emotion2vec.probe.stored_files import is_feature_store
from emotion2vec.processors import default_workers

if TYPE_CHECKING:
    from emotion2vec.model.config import Emotion2vecConfig
    from emotion2vec.model.features import Features
    from emotion2vec.probe.store import Extractor

UNTRAINED_SEED = 0
"""Seed of the random weights of `untrained`."""


class WaveformExtractor:
    """A function of the waveform, run on several clips at a time; the clip's vector is also its only frame.

    The neural heads see the statistics too, for they are the stronger baseline: what a head makes of single spectra of
    25 ms, averaged over time, scores lower.
    """

    reads = ("audio",)
    heard = Heard()
    """Nothing: it was not trained."""

    def __init__(self, name: str, compute: Callable[[np.ndarray], np.ndarray], settings: str):
        self.name = name
        self.fingerprint = f"{name} {settings}"
        self._compute = compute

    def extract(self, clips: Sequence[Clip]) -> list[ClipFeatures | str]:
        """Extract clips; see `Extractor`."""
        with ThreadPoolExecutor(default_workers()) as pool:
            return list(pool.map(self._extract_one, [clip.path for clip in clips]))

    def _extract_one(self, path: Path) -> ClipFeatures | str:
        try:
            vector = self._compute(load_audio(path))  # (P,)
        except AudioError as error:
            return str(error)
        return ClipFeatures(vector, vector[None]) if np.isfinite(vector).all() else "its features are not finite"


class ModelExtractor:
    """Features of a network at one layer, at the mean of its layers or its last n, or all layers' vectors joined."""

    reads = ("audio",)

    def __init__(self, name: str, model: Any, layer: int | str, pooling: str):
        from emotion2vec.model.fingerprint import weights_hash

        self.name = name
        self.fingerprint = " ".join(
            [f"{weights_hash(model)} layer={layer} {pooling}", getattr(model, "cut", "")]
        ).strip()
        self.heard: Any = getattr(model, "heard", None)
        """What the network was trained on: a record, or None where it does not say."""
        self._model = model
        self._layer = layer
        self._pooling = pooling

    def extract(self, clips: Sequence[Clip]) -> list[ClipFeatures | str]:
        """Extract clips; see `Extractor`. ConfigError: the network has no such layer."""
        paths = [clip.path for clip in clips]
        outcomes: list[ClipFeatures | str] = []
        for start in range(0, len(paths), BATCH_CLIPS):
            outcomes += [
                item if isinstance(item, str) else at_layer(item, self._layer, self._pooling, self.name)
                for item in self._encode(paths[start : start + BATCH_CLIPS])
            ]
        return outcomes

    def _encode(self, paths: Sequence[Path]) -> list[Features | str]:
        """Encode clips in batches; when one of them cannot be used, one at a time, to know which."""
        from emotion2vec.extraction import extract_features
        from emotion2vec.model.encoder import Emotion2vec

        layers = self._layer != "last"
        if isinstance(self._model, Emotion2vec):
            try:
                return list(extract_features(list(paths), model=self._model, layers=layers))
            except AudioError:
                pass
        outcomes: list[Features | str] = []
        for path in paths:
            try:
                outcomes.append(self._model.extract_features(path, layers=layers))
            except AudioError as error:
                outcomes.append(str(error))
        return outcomes


SPECTRAL = {"logmel": spectral.log_mel, "mfcc": spectral.mfcc}
KNOWN = (
    "logmel, mfcc, egemaps, untrained, untrained:MODEL_OR_CONFIG, hf:NAME_OR_FOLDER, torchaudio:BUNDLE, "
    "text:NAME_OR_FOLDER, a folder or .npz of features, the path or name of a model, or several of them with + between "
    "them"
)
BATCH_CLIPS = 32
"""Clips handed to a network at once."""

DEFAULT_SHAPE = "tiny"
"""Shipped configuration whose shape `untrained` takes when no model is given."""


def make_extractor(
    feature: Any, *, model: Any = None, layer: int | str = "last", pooling: str | None = None, device: str = "cpu"
) -> Extractor:
    """Build the extractor of a named feature.

    Args:
        feature: `logmel`, `mfcc`, `egemaps` (eGeMAPSv02 functionals), `untrained` (random weights in the shape of
            `model`, or of the `tiny` configuration), `untrained:NAME` (in the shape of that model, YAML file or shipped
            configuration), `hf:NAME_OR_FOLDER` (a Hugging Face speech model), `torchaudio:BUNDLE`,
            `text:NAME_OR_FOLDER` (a Hugging Face text encoder, which reads what is said), features on disk (see
            `StoredFeatures`), the path or name of a model, a loaded model, or several of these names with `+` between
            them, whose vectors are joined.
        model: path or loaded model whose shape `untrained` takes.
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
    if hasattr(feature, "extract_features"):
        return ModelExtractor(feature_name(feature), feature, layer, pooling or "mean")
    name = str(feature)
    if len(names := _parts(name)) > 1:
        if not all(names):
            raise ConfigError(f"feature is {name!r}, expected features on both sides of {JOINT}")
        same: dict[str, Any] = {"model": model, "layer": layer, "pooling": pooling, "device": device}
        return CombinedFeatures([make_extractor(part, **same) for part in names])
    if name in SPECTRAL:
        return WaveformExtractor(name, _pooled(SPECTRAL[name], pooling or "mean+std"), pooling or "mean+std")
    kind, _, source = name.partition(":")
    if name == "egemaps" or kind in ("hf", "torchaudio"):
        from emotion2vec.probe import baselines

        if name == "egemaps":
            return WaveformExtractor(name, *baselines.egemaps())
        network = (
            baselines.hugging_face(source, device) if kind == "hf" else baselines.torchaudio_bundle(source, device)
        )
        return ModelExtractor(name, network, layer, pooling or "mean")
    if kind == "text":
        from emotion2vec.probe.transcripts import TextExtractor, text_encoder

        return TextExtractor(name, text_encoder(source, device), layer, pooling or "mean")
    if is_feature_store(Path(name)):
        return StoredFeatures(Path(name), pooling)
    network = _untrained(_config_of(source or model or DEFAULT_SHAPE)) if kind == "untrained" else _load(name)
    if kind == "untrained":
        network.heard = Heard()
    return ModelExtractor(name, network.to(device), layer, pooling or "mean")


def _parts(name: str) -> list[str]:
    """Names of the features that a name joins; a path may have the sign in it."""
    return [name] if Path(name).exists() else name.split(JOINT)


def reads_text(name: str) -> bool:
    """Whether a named feature, or one that it joins, is made of what is said; nothing is loaded to know it."""
    return any(part.startswith("text:") for part in _parts(name))


def _pooled(frames_of: Callable[[np.ndarray], np.ndarray], pooling: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda waveform: pool(frames_of(waveform), pooling)


def feature_name(feature: Any) -> str:
    """Name a feature for tables and JSON: itself, or the class of a loaded model."""
    return type(feature).__name__ if hasattr(feature, "extract_features") else str(feature)


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

    from emotion2vec.model.config import model_config

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
