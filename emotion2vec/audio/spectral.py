"""Log-mel spectra and MFCC: the baselines that every learned feature has to beat.

S: samples. T: frames of 10 ms. F: frequency bins. M: mel bands.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE

WINDOW = 400
"""Samples per window (25 ms)."""

HOP = 160
"""Samples between windows (10 ms)."""

FFT_SIZE = 512
MEL_BANDS = 80
MFCC_COUNT = 40

FLOOR = 1e-10
"""Smallest mel power before the logarithm, −100 dB of full scale: digital silence stays finite."""


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Compute log-mel spectra: Hann windows of 25 ms each 10 ms, power, 80 HTK mel bands up to 8 kHz, natural log.

    Args:
        waveform: (S,) at 16 kHz, at least 400 samples; frames start at sample 0 and nothing is padded.

    Returns:
        (T, 80) float32.
    """
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]  # (T, WINDOW)
    power = np.abs(np.fft.rfft(frames * _window(), FFT_SIZE)) ** 2  # (T, F)
    return np.log(np.maximum(power @ mel_filters().T, FLOOR)).astype(np.float32)  # (T, M)


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """Compute 40 mel-frequency cepstral coefficients: the orthonormal DCT-II of the log-mel spectra.

    Returns:
        (T, 40) float32.
    """
    return (log_mel(waveform) @ _dct_basis().T).astype(np.float32)  # (T, MFCC_COUNT)


def to_mel(hertz: np.ndarray | float) -> Any:
    """The mel scale, 2595 · log10(1 + f / 700) (O'Shaughnessy, as in HTK)."""
    return 2595 * np.log10(1 + hertz / 700)


def from_mel(mel: np.ndarray | float) -> Any:
    """Frequencies in Hz of points of the mel scale."""
    return 700 * (10 ** (mel / 2595) - 1)


@cache
def mel_filters(bands: int = MEL_BANDS, fft_size: int = FFT_SIZE, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Triangles of height 1, equally wide on the mel scale.

    Returns:
        (M, F) float64 weights on power spectra of `fft_size`.
    """
    edges = from_mel(np.linspace(0, to_mel(sample_rate / 2), bands + 2))  # (M + 2,) in Hz
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]  # (M, 1)
    frequencies = np.fft.rfftfreq(fft_size, 1 / sample_rate)  # (F,)
    rising, falling = (frequencies - low) / (center - low), (high - frequencies) / (high - center)
    return np.maximum(0, np.minimum(rising, falling))


@cache
def _window() -> np.ndarray:
    """Periodic Hann window (WINDOW,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def _dct_basis() -> np.ndarray:
    """Rows of the orthonormal DCT-II, (MFCC_COUNT, M)."""
    rows, columns = np.arange(MFCC_COUNT)[:, None], np.arange(MEL_BANDS)[None]
    basis = np.cos(np.pi * rows * (2 * columns + 1) / (2 * MEL_BANDS)) * np.sqrt(2 / MEL_BANDS)
    basis[0] /= np.sqrt(2)
    return basis
