from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct
from scipy.signal import stft

from emotion2vec.audio import spectral


@pytest.fixture
def chirp() -> np.ndarray:
    seconds = np.arange(8000) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 * seconds + 1500 * seconds**2))).astype(np.float32)


def test_filters_follow_the_closed_formula() -> None:
    filters = spectral.mel_filters()
    assert filters.shape == (80, 257)
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(512, 1 / 16000) / 700)
    width = 2595 * np.log10(1 + 8000 / 700) / 81
    peaks = np.arange(1, 81) * width
    # Triangles are straight over Hz, so on the mel scale only their feet and peaks are exact.
    distance = np.abs(mel[None] - peaks[:, None]) / width
    np.testing.assert_allclose(filters[distance > 1], 0, atol=1e-9)
    assert (filters[distance < 0.999] > 0).all()
    assert filters.max() <= 1
    # Neighbouring triangles add up to 1 between the first peak and the last.
    between = (mel > peaks[0]) & (mel < peaks[-1])
    np.testing.assert_allclose(filters.sum(axis=0)[between], 1)


def test_log_mel_is_filters_on_the_spectrum_of_scipy(chirp: np.ndarray) -> None:
    # SciPy divides by the sum of the window, which is 200.
    _, _, spectrum = stft(
        chirp.astype(np.float64), window="hann", nperseg=400, noverlap=240, nfft=512, boundary=None, padded=False
    )
    power = np.abs(spectrum * 200) ** 2  # (F, T)
    expected = np.log(np.maximum(spectral.mel_filters() @ power, 1e-10)).T
    found = spectral.log_mel(chirp)
    assert found.shape == (1 + (8000 - 400) // 160, 80)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_values_of_another_implementation(chirp: np.ndarray) -> None:
    # From librosa 0.11.0: filters.mel(htk=True, norm=None) on stft(win_length=400, n_fft=512, hop_length=160).
    found = spectral.log_mel(chirp)[10, [0, 5, 20, 40]]
    np.testing.assert_allclose(found, [-10.57674404, -9.02168358, 0.92446615, -16.61241012], atol=1e-4)
    # librosa.feature.mfcc(n_mfcc=40, dct_type=2, norm="ortho") of the same.
    found = spectral.mfcc(chirp)[10, [0, 1, 5, 39]]
    np.testing.assert_allclose(found, [-127.79432497, 64.96680302, -17.16594828, -0.2456479], atol=1e-3)


def test_mfcc_is_scipys_orthonormal_dct(chirp: np.ndarray) -> None:
    expected = dct(spectral.log_mel(chirp).astype(np.float64), type=2, norm="ortho", axis=1)[:, :40]
    np.testing.assert_allclose(spectral.mfcc(chirp), expected, atol=1e-3)


def test_digital_silence_stays_finite() -> None:
    assert (spectral.log_mel(np.zeros(400, np.float32)) == np.float32(np.log(1e-10))).all()
