"""Speech as a codec leaves it: encoded and decoded in memory by libsndfile.

S: samples at 16 kHz, or at the telephone's 8 kHz.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE

TELEPHONE_RATE = 8_000
TELEPHONE_BAND = (300.0, 3_400.0)
"""What a telephone lets pass, in Hz (ITU-T G.712)."""

WIDE = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS")}
"""Codecs at 16 kHz, with a level of compression: libsndfile's format and subtype."""

NARROW = {"gsm": ("WAV", "GSM610"), "mulaw": ("WAV", "ULAW"), "alaw": ("WAV", "ALAW")}
"""Codecs of telephones."""

CODECS = (*WIDE, *NARROW, "telephone")
"""Names of codecs; `telephone` is its band alone."""

BLOCK = 10 * SAMPLE_RATE
"""Samples that are encoded at once: libsndfile's Vorbis takes as much stack as it is given samples."""


def transcode(waveform: np.ndarray, codec: str, level: float) -> np.ndarray:
    """Encode and decode (S,) by one of `CODECS`: (S,).

    Telephone codecs hear what a telephone's band leaves; samples beyond ±1 are scaled down for as long as they are
    encoded, as a recorder's level would be.

    Args:
        waveform: (S,).
        codec: its name.
        level: of compression, where the codec has one: 0 is the least, 0.99 the most.
    """
    if codec in WIDE:
        return _coded(waveform, SAMPLE_RATE, WIDE[codec], compression_level=level)
    import soxr

    narrow = _band(soxr.resample(waveform, SAMPLE_RATE, TELEPHONE_RATE, quality="HQ"))
    if codec in NARROW:
        narrow = _coded(narrow, TELEPHONE_RATE, NARROW[codec])
    return _fitted(soxr.resample(narrow, TELEPHONE_RATE, SAMPLE_RATE, quality="HQ"), waveform.size)


def lacking(codec: str) -> bool:
    """Whether the libsndfile at hand cannot encode it: MP3 came with its version 1.1, Opus with 1.0.29."""
    import soundfile

    container, subtype = {**WIDE, **NARROW}.get(codec, ("WAV", "PCM_16"))
    return subtype not in soundfile.available_subtypes(container)


def _coded(samples: np.ndarray, rate: int, form: tuple[str, str], **settings: Any) -> np.ndarray:
    """Encode and decode (S,) in a container and subtype: (S,)."""
    import soundfile

    scale = np.float32(max(1.0, float(np.abs(samples).max(initial=0.0))))
    stream = io.BytesIO()
    container, subtype = form
    with soundfile.SoundFile(
        stream, "w", samplerate=rate, channels=1, format=container, subtype=subtype, **settings
    ) as encoder:
        for first in range(0, samples.size, BLOCK):
            encoder.write(samples[first : first + BLOCK] / scale)
    stream.seek(0)
    decoded, _ = soundfile.read(stream, dtype="float32")
    return _fitted(decoded, samples.size) * scale


def _band(samples: np.ndarray) -> np.ndarray:
    """The telephone's band of samples (S,) at 8 kHz, without delay."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(4, TELEPHONE_BAND, btype="bandpass", fs=TELEPHONE_RATE, output="sos")
    filtered: np.ndarray = sosfiltfilt(sections, samples, padlen=min(54, samples.size - 1))
    return filtered.astype(np.float32)


def _fitted(samples: np.ndarray, size: int) -> np.ndarray:
    """The first `size` samples, with silence behind them where a codec gave fewer."""
    return np.pad(samples[:size], (0, max(0, size - samples.size)))
