"""Features of networks: ours, loaded or with random weights, and whatever else has `extract_features`.

T: frames. D: channels of a frame. L: layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from emotion2vec.assets import asset_folder
from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.hub import is_hub_name
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import AudioError, CheckpointError, ConfigError
from emotion2vec.extraction.api import extract_features
from emotion2vec.model.config import Emotion2vecConfig, model_config
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.features import Features
from emotion2vec.model.foreign import ForeignEncoder
from emotion2vec.model.foreign_config import ForeignConfig
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.probe.features.extractor import ClipFeatures
from emotion2vec.probe.features.layers import at_layer
from emotion2vec.settings import read_yaml

UNTRAINED_SEED = 0
"""Seed of the random weights of `untrained`."""

BATCH_CLIPS = 32
"""Clips handed to a network at once."""

DEFAULT_SHAPE = "tiny"
"""Shipped configuration whose shape `untrained` takes when no model is given."""

KNOWN = (
    "logmel, mfcc, egemaps, untrained, untrained:MODEL_OR_CONFIG, hf:NAME_OR_FOLDER, torchaudio:BUNDLE, "
    "text:NAME_OR_FOLDER, a folder or .npz of features, the path or name of a model, or several of them with + between "
    "them"
)
"""All names of features, for messages."""


class ModelExtractor:
    """Features of a network at one layer, at the mean of its layers or its last n, or all layers' vectors joined."""

    reads = ("audio",)

    def __init__(self, name: str, model: Any, weights: str, layer: int | str, pooling: str | None):
        """Take a loaded model, the hash of its `weights`, and what to read of it; see `make_extractor`."""
        pooling = pooling or "mean"
        self.name = name
        self.fingerprint = f"{weights} layer={layer} {pooling}"
        self.heard: Any = getattr(model, "heard", None)
        """What the network was trained on: a record, or None where it does not say."""
        self.model = model
        """The network."""
        self._layer = layer
        self._pooling = pooling

    def extract(self, clips: Sequence[Utterance]) -> list[ClipFeatures | str]:
        """Extract clips; see `Extractor`. ConfigError: the network has no such layer."""
        outcomes: list[ClipFeatures | str] = []
        for start in range(0, len(clips), BATCH_CLIPS):
            outcomes += [
                item if isinstance(item, str) else at_layer(item, self._layer, self._pooling, self.name)
                for item in self._encode(clips[start : start + BATCH_CLIPS])
            ]
        return outcomes

    def _encode(self, clips: Sequence[Utterance]) -> list[Features | str]:
        """Encode clips together; where one of them cannot be used, one at a time in the same way, to know which."""
        if isinstance(self.model, SpeechEncoder):
            try:
                return list(
                    extract_features([_source(clip) for clip in clips], model=self.model, layers=self._needs_layers)
                )
            except AudioError:
                pass
        return [self._encode_one(clip) for clip in clips]

    def _encode_one(self, clip: Utterance) -> Features | str:
        try:
            source = _source(clip)
            if isinstance(self.model, SpeechEncoder):
                return extract_features(source, model=self.model, layers=self._needs_layers)
            features: Features = self.model.extract_features(source, layers=self._needs_layers)
            return features
        except AudioError as error:
            return str(error)

    @property
    def _needs_layers(self) -> bool:
        return self._layer != "last"


def _source(clip: Utterance) -> Any:
    """A whole file by its path, and samples of what is not all of its file.

    Raises:
        AudioError: the stretch cannot be decoded.
    """
    if clip.is_whole and clip.channel is None:
        return clip.path
    return {"array": clip.load(), "sampling_rate": SAMPLE_RATE}


def load_named(name: str) -> Any:
    """Load a model; a name that is nothing at all is a mistake in the list of features."""
    try:
        return load_model(name)
    except CheckpointError as error:
        if Path(name).exists() or is_hub_name(name):
            raise
        raise ConfigError(f"feature is {name!r}, which is neither a path nor a known name, expected {KNOWN}") from error


def _config_of(source: Any) -> Emotion2vecConfig | ForeignConfig:
    """The network configuration of a loaded model, a shipped configuration, a YAML file or a model."""
    if hasattr(source, "config"):
        return source.config
    shipped = asset_folder("configs") / "pretrain" / f"{source}.yaml"
    path = shipped if shipped.is_file() else Path(source)
    return _read_shape(path) if path.suffix in {".yaml", ".yml"} else load_named(str(source)).config


def _read_shape(path: Path) -> Emotion2vecConfig:
    """The section `model` of a pretraining configuration, whatever its other sections lack."""
    values = read_yaml(path)
    if values.get("model") is not None:
        raise ConfigError(f"untrained:{path}: model is {values['model']!r}, expected a mapping")
    section = {key.removeprefix("model."): value for key, value in values.items() if key.startswith("model.")}
    return model_config(section, str(path))


def untrained_like(source: Any) -> SpeechEncoder:
    """A network of random weights in the shape of a model or configuration, the same in every run.

    The caller's random state is left alone.
    """
    config = _config_of(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        network = ForeignEncoder(config) if isinstance(config, ForeignConfig) else Emotion2vec(config)
    network.heard = Heard()
    return network.eval()
