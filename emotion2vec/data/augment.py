"""Augmentation on the fly: speed, reverberation, noise, clipping and gain, drawn anew at every update.

S: samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.audio.samples import normalize
from emotion2vec.data.config import AugmentConfig
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.sources import Source
from emotion2vec.errors import AudioError

DECAY = 3 * np.log(10)
"""Exponent of amplitude that falls by 60 dB."""


class Augmenter:
    """Distorts utterances in the order in which a room, a microphone and a recorder would.

    Speed, reverberation, noise, clipping; then normalization; then gain, which normalization would undo. Every draw
    comes from the generator that is given, so a key of seed, update and utterance decides all of them.
    """

    def __init__(self, config: AugmentConfig, noise: Sequence[Source] = (), reverb: Sequence[Source] = ()) -> None:
        self.config = config
        self.noise = noise
        self.reverb = reverb

    def heard(self, waveform: np.ndarray, rng: np.random.Generator, *, normalized: bool = True) -> np.ndarray:
        """Augment a whole utterance (S,) and normalize it if asked to; its length changes with its speed.

        Raises:
            AudioError: a noise or impulse response that was drawn cannot be decoded.
            Unreachable: it cannot be read at the moment.
        """
        config = self.config
        chosen = rng.random(5) < (
            config.speed_prob,
            config.reverb_prob,
            config.noise_prob,
            config.clip_prob,
            config.gain_prob,
        )
        if chosen[0]:
            waveform = change_speed(waveform, rng.uniform(config.speed_low, config.speed_high))
        if chosen[1]:
            waveform = reverberate(waveform, self._impulse_response(rng))
        if chosen[2]:
            snr = rng.uniform(config.noise_snr_low, config.noise_snr_high)
            waveform = add_noise(waveform, stretch(_draw(self.noise, rng), waveform.size, rng), snr)
        if chosen[3]:
            waveform = clip(waveform, rng.uniform(0, config.clip_db))
        if normalized:
            waveform = normalize(waveform)
        if chosen[4]:
            waveform = waveform * np.float32(10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20))
        return waveform

    def _impulse_response(self, rng: np.random.Generator) -> np.ndarray:
        if self.reverb:
            return _draw(self.reverb, rng)
        return synthetic_impulse_response(rng.uniform(0.1, self.config.reverb_seconds), rng.uniform(0, 12), rng)


def build_augmenter(config: AugmentConfig, *, max_bad_share: float, workers: int) -> Augmenter | None:
    """Open noises and impulse responses; None where everything is off.

    Raises:
        ManifestError: a list of noises or impulse responses cannot be used.
        StorageError: prepared ones cannot be reached.
    """
    probabilities = (config.speed_prob, config.reverb_prob, config.noise_prob, config.clip_prob, config.gain_prob)
    if not any(probabilities):
        return None
    noise, reverb = (
        open_corpus(sources, min_samples=MIN_SAMPLES, max_bad_share=max_bad_share, workers=workers).sources
        if sources and wanted
        else []
        for sources, wanted in ((config.noise, config.noise_prob), (config.reverb, config.reverb_prob))
    )
    return Augmenter(config, noise, reverb)


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play (S,) `factor` times as fast, pitch included: (S / factor,)."""
    import soxr

    return soxr.resample(waveform, factor * SAMPLE_RATE, SAMPLE_RATE, quality="HQ")


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


def stretch(samples: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """`length` samples from a random place on; what is shorter is repeated from its start."""
    first = int(rng.integers(samples.size))
    repeated = np.tile(samples, 1 + (first + length) // samples.size) if first + length > samples.size else samples
    return repeated[first : first + length]


def _draw(sources: Sequence[Source], rng: np.random.Generator) -> np.ndarray:
    """Samples (S,) of one utterance, each as likely as the other."""
    ends = np.cumsum([int(source.counts.sum()) for source in sources])
    place = int(rng.integers(ends[-1]))
    number = int(np.searchsorted(ends, place, side="right"))
    first = place - (int(ends[number - 1]) if number else 0)
    ((name, samples),) = sources[number].load(sources[number].entries([(first, first + 1)]))
    if isinstance(samples, AudioError):
        raise AudioError(f"{name}, drawn for augmentation: {samples}")
    return samples
