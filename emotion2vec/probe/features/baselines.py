"""Features of other people's making, each behind an optional package: eGeMAPS, torchaudio bundles, text encoders.

S: samples. T: frames. D: channels. L: layers. P: channels of a clip's vector.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio
from emotion2vec.errors import AudioError, CheckpointError, ConfigError
from emotion2vec.model.features import Features


def egemaps() -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """The 88 functionals of eGeMAPSv02 (Eyben et al., 2016) by opensmile: the function, and the version behind it.

    Raises:
        ConfigError: opensmile is not installed.
    """
    opensmile = require("opensmile", "egemaps")
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )

    def compute(waveform: np.ndarray) -> np.ndarray:
        return smile.process_signal(waveform, SAMPLE_RATE).to_numpy(np.float32)[0]  # (P,)

    return compute, f"eGeMAPSv02 opensmile {opensmile.__version__}"


class _FrozenNetwork(torch.nn.Module):
    """A speech network behind the one call that the probe makes."""

    def __init__(self, network: torch.nn.Module, hidden_states: Callable[[np.ndarray], list[torch.Tensor]]):
        super().__init__()
        self.network = network
        self._hidden_states = hidden_states

    @torch.inference_mode()
    def extract_features(self, source: Path, *, layers: bool = False) -> Features:
        """Frames of the last layer and, when asked for, the outputs of all Transformer layers.

        Raises:
            AudioError: the audio cannot be decoded, or is too short for the network.
        """
        waveform = load_audio(source)
        try:
            states = self._hidden_states(waveform)
        except RuntimeError as error:
            raise AudioError(f"{source}: the network cannot use it: {str(error).splitlines()[0]}") from error
        stacked = torch.stack([state[0].float().cpu() for state in states]).numpy()  # (L, T, D)
        return Features(frames=stacked[-1], layers=stacked if layers else None)


def torchaudio_bundle(name: str, device: str) -> _FrozenNetwork:
    """Load a torchaudio pipeline such as WAV2VEC2_BASE, HUBERT_BASE or WAVLM_BASE_PLUS.

    Raises:
        ConfigError: torchaudio is not installed, or has no such bundle of a speech encoder at 16 kHz.
        CheckpointError: its weights cannot be downloaded.
    """
    torchaudio = require("torchaudio", f"torchaudio:{name}")
    pipelines = torchaudio.pipelines
    known = [item for item in dir(pipelines) if isinstance(getattr(pipelines, item), pipelines.Wav2Vec2Bundle)]
    if name not in known:
        raise ConfigError(f"feature is 'torchaudio:{name}', expected one of {', '.join(known)}")
    bundle = getattr(pipelines, name)
    if bundle.sample_rate != SAMPLE_RATE:
        raise ConfigError(f"torchaudio:{name} takes audio at {bundle.sample_rate} Hz, expected {SAMPLE_RATE}")
    try:
        model = bundle.get_model().eval().to(device)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"torchaudio:{name}: its weights cannot be had: {error}") from error

    def hidden_states(waveform: np.ndarray) -> list[torch.Tensor]:
        return model.extract_features(torch.from_numpy(waveform)[None].to(device))[0]

    return _FrozenNetwork(model, hidden_states)


PACKAGES = {"opensmile": "opensmile", "transformers": "transformers", "torchaudio": "torchaudio", "umap": "umap-learn"}


def require(module: str, what: str) -> Any:
    """Import an optional package, or say how to install it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ConfigError(
            f"{what} needs the package {PACKAGES[module]}, which is not installed: pip install {PACKAGES[module]}"
        ) from error
