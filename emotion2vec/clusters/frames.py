"""What is clustered: frames of a model's layers, or cepstra where there is no model yet.

S: samples. T: frames. L: layers. D: channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from emotion2vec.audio.frames import FrameGrid
from emotion2vec.audio.spectral import HOP, WINDOW, mfcc
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.clusters.settings import usual_layers
from emotion2vec.distil.features import taught_whole
from emotion2vec.distil.teacher import Teacher
from emotion2vec.errors import ConfigError

CEPSTRA = 13
"""Coefficients that are clustered, with their first and second derivatives beside them."""


class FrameSource(Protocol):
    """Says something of every frame of a clip.

    Attributes:
        name: which it is.
        fingerprint: of its weights; empty where it has none.
        layers: what is given, counted from 1, rising.
        grid: where the frames lie.
    """

    name: str
    fingerprint: str
    layers: list[int]
    grid: FrameGrid

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Frames (L, T, D) float32 of a whole clip (S,) as it was recorded."""
        ...


class ModelFrames:
    """Layers of a frozen model, cut above the highest of them; see `FrameSource`.

    Args:
        name: what `load_model` takes.
        layers: blocks, counted from 1; none for `emotion2vec.clusters.settings.usual_layers`.
        device: where it computes.
        dtype: of its products.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: it has fewer blocks.
    """

    def __init__(self, name: str, layers: Sequence[int], device: torch.device, dtype: torch.dtype = torch.float32):
        if not layers:
            config = read_source(name).config
            layers = usual_layers(config.prenet_depth + config.depth)
        self.teacher = Teacher(name, layers, device, dtype, soft=False)
        self.name, self.fingerprint, self.layers = name, self.teacher.fingerprint, self.teacher.layers
        self.grid = self.teacher.config.grid
        if self.layers[-1] > self.teacher.depth:
            raise ConfigError(beyond(name, self.layers, self.teacher.depth))

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """See `FrameSource`."""
        found: np.ndarray = taught_whole(self.teacher, waveform).layers[:, 0].cpu().numpy()  # (L, T, D)
        return found


def beyond(name: str, layers: Sequence[int], depth: int) -> str:
    """That a model has not so many layers."""
    wrong = ", ".join(str(layer) for layer in layers if layer > depth)
    return f"clusters.layers has {wrong}, expected 1 to {depth}, the blocks of {name}"


class CepstralFrames:
    """13 cepstra with first and second derivatives, 25 ms each 20 ms, as HuBERT begins; see `FrameSource`."""

    name = "MFCC"
    fingerprint = ""
    grid = FrameGrid((WINDOW,), (2 * HOP,), (0,))

    def __init__(self) -> None:
        self.layers = [1]

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """See `FrameSource`; derivatives are of lines through five frames of 10 ms, whose ends are repeated."""
        from scipy.signal import savgol_filter

        cepstra = mfcc(waveform)[:, :CEPSTRA]  # (T, D)
        padded = np.pad(cepstra, ((4, 4), (0, 0)), mode="edge")
        first = savgol_filter(padded, 5, 1, deriv=1, axis=0)
        second = savgol_filter(first, 5, 1, deriv=1, axis=0)
        return np.concatenate([cepstra, first[4:-4], second[4:-4]], axis=1)[None, ::2].astype(np.float32)
