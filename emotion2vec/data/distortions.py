"""What augmentation does to a waveform, one function each; what is drawn is drawn by `augment`, or by the `rng` given.

S: samples at 16 kHz. K: classes.
"""

from __future__ import annotations

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.spectral import from_mel, to_mel

DECAY = 3 * np.log(10)
"""Exponent of amplitude that falls by 60 dB."""

EDGE = 50.0
"""Width of the slopes beside a band that is taken out, in Hz: a sharp edge would ring for long."""

STRETCH_PACKAGE = "python_stretch"
"""Changes pitch and tempo apart from each other: Signalsmith Stretch, without which neither is there."""


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play (S,) `factor` times as fast, pitch included: (S / factor,)."""
    import soxr

    return soxr.resample(waveform, factor * SAMPLE_RATE, SAMPLE_RATE, quality="HQ")


def change_pitch(waveform: np.ndarray, semitones: float) -> np.ndarray:
    """Move the pitch of (S,), formants included, without changing its duration, by Signalsmith Stretch: (S,)."""
    return _stretched(waveform, semitones=semitones)


def change_tempo(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Say (S,) `factor` times as fast at the same pitch, by Signalsmith Stretch: (S / factor,)."""
    return _stretched(waveform, tempo=factor)


def _stretched(waveform: np.ndarray, *, semitones: float = 0.0, tempo: float = 1.0) -> np.ndarray:
    from python_stretch.Signalsmith import Stretch

    engine = Stretch(0)  # its seed, for factors that are far from 1
    engine.preset(1, SAMPLE_RATE)
    engine.setTransposeSemitones(semitones)
    engine.setTimeFactor(tempo)
    return np.asarray(engine.process(np.ascontiguousarray(waveform[None], dtype=np.float32)))[0]


def reverse(waveform: np.ndarray) -> np.ndarray:
    """Play (S,) backwards."""
    return np.ascontiguousarray(waveform[::-1])


def shift(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Let (S,) begin so many samples later, or earlier: what leaves at one end comes back at the other."""
    return np.roll(waveform, samples)


def reverberate(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve (S,) with an impulse response, aligned at its peak and at the same power, by Lhotse: (S,)."""
    from lhotse.augmentation import ReverbWithImpulseResponse

    transform = ReverbWithImpulseResponse(rir_generator=lambda nsource: response[None])
    return transform(np.ascontiguousarray(waveform[None]), SAMPLE_RATE)[0]


def synthetic_impulse_response(seconds: float, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Response of a room after Polack's model: noise that decays exponentially, behind a direct sound of 1.

    Args:
        seconds: reverberation time T60, in which the energy falls by 60 dB.
        ratio: direct sound to reverberation, in dB of energy.
        rng: draws the noise.
    """
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.normal(size=time.size) * np.exp(-DECAY * time / seconds)
    response = tail / np.sqrt(np.sum(tail * tail)) * 10 ** (-ratio / 20)
    response[0] = 1.0
    return response.astype(np.float32)


def coloured_noise(samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (S,) whose power falls with frequency f as f^−exponent: 0 for white, 1 for pink, 2 for brown.

    It is steady below 20 Hz, so that it keeps to what can be heard.
    """
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    length = next_fast_len(samples, real=True)
    hertz = np.maximum(rfftfreq(length, 1 / SAMPLE_RATE), 20.0)
    shaped: np.ndarray = irfft(rfft(rng.normal(size=length)) * hertz ** (-exponent / 2), length)[:samples]
    return (shaped / np.sqrt(np.mean(shaped * shaped))).astype(np.float32)


def add_noise(waveform: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise (S,) to speech (S,) at a ratio of energies of `snr` dB, by Lhotse's mixer."""
    from lhotse.audio.mixer import AudioMixer

    mixer = AudioMixer(waveform[None], SAMPLE_RATE)
    mixer.add_to_mix(noise[None], snr=snr)
    return mixer.mixed_mono_audio[0]


def clip(waveform: np.ndarray, level: float) -> np.ndarray:
    """Clip (S,) at `level` dB below its peak."""
    limit = np.abs(waveform).max() * 10 ** (-level / 20)
    return np.clip(waveform, -limit, limit)


def mask_band(waveform: np.ndarray, low: float, high: float) -> np.ndarray:
    """Leave nothing of (S,) between two frequencies in Hz: frequency masking (Park et al., 2019) of a waveform."""
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    length = next_fast_len(waveform.size, real=True)
    hertz = rfftfreq(length, 1 / SAMPLE_RATE)
    beside = np.maximum(low - hertz, hertz - high)  # Hz outside the band, negative inside
    kept = np.clip(beside / EDGE, 0, 1).astype(np.float32)
    masked: np.ndarray = irfft(rfft(waveform, length) * kept, length)[: waveform.size]
    return masked.astype(np.float32, copy=False)


def mask_time(waveform: np.ndarray, first: int, length: int) -> np.ndarray:
    """Silence `length` samples of (S,) from `first` on: time masking (Park et al., 2019) of a waveform."""
    masked = waveform.copy()
    masked[first : first + length] = 0
    return masked


def draw_band(widest: float, rng: np.random.Generator) -> tuple[float, float]:
    """A band in Hz for `mask_band`: up to `widest` of the mel scale below half the sampling rate, at any place."""
    top = to_mel(SAMPLE_RATE / 2)
    width = rng.uniform(0, widest) * top
    low = rng.uniform(0, top - width)
    return float(from_mel(low)), float(from_mel(low + width))


def excerpt(samples: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """`length` samples from a random place on; what is shorter is repeated from its start."""
    first = int(rng.integers(samples.size))
    repeated = np.tile(samples, 1 + (first + length) // samples.size) if first + length > samples.size else samples
    return repeated[first : first + length]


def mix(waveform: np.ndarray, other: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mix two clips for labels that are mixed as much (between-class learning; Tokozume et al., ICLR 2018), (S,).

    Args:
        waveform: (S,), whose length and power the mixture has.
        other: the other clip, from a random place on, repeated where it is shorter; made as loud as the first.
        share: of the first in amplitudes.
        rng: draws the place.
    """
    second = excerpt(other, waveform.size, rng)
    power, others = (float(np.mean(np.square(x, dtype=np.float64))) for x in (waveform, second))
    louder = np.sqrt(power / others) if others else 0.0
    mixture: np.ndarray = (share * waveform + (1 - share) * louder * second) / np.hypot(share, 1 - share)
    return mixture.astype(np.float32)
