"""Augmentation on the fly: what is done to an utterance, drawn anew at every update.

S: samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.audio.samples import normalize
from emotion2vec.data import distortions
from emotion2vec.data.codecs import transcode
from emotion2vec.data.config import AugmentConfig
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.sources import Loaded, Source
from emotion2vec.errors import AudioError

Distortion = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Changes a waveform (S,) by what it draws; its length may change."""


class Augmenter:
    """Distorts utterances in the order in which a voice, a room, a microphone and a line would.

    Normalization comes before gain, which it would undo. Every distortion draws from a generator of its own, made of
    the one that is given: a key of seed, update and utterance decides all of them, and one that is turned on or off
    leaves the others as they are.
    """

    def __init__(self, config: AugmentConfig, noise: Sequence[Source] = (), reverb: Sequence[Source] = ()) -> None:
        self.config = config
        self.noise = noise
        self.reverb = reverb

    def distortions(self) -> list[tuple[float, Distortion]]:
        """Probability of each, and what it does, in their order; new ones change the draws of those after them."""
        config = self.config
        return [
            (config.speed_prob, self._speed),
            (config.pitch_prob, self._pitch),
            (config.stretch_prob, self._tempo),
            (config.reverse_prob, lambda waveform, rng: distortions.reverse(waveform)),
            (config.shift_prob, self._shift),
            (config.reverb_prob, self._reverb),
            (config.noise_prob, self._noise),
            (config.clip_prob, lambda waveform, rng: distortions.clip(waveform, rng.uniform(0, config.clip_db))),
            (config.codec_prob, self._codec),
            (config.frequency_mask_prob, self._mask_band),
            (config.time_mask_prob, self._mask_time),
            (config.gain_prob, self._gain),
        ]

    def share(self, rng: np.random.Generator) -> float | None:
        """The share of an utterance in its mixture with another one, where it is mixed."""
        return rng.uniform(self.config.mix_least, 1) if rng.random() < self.config.mix_prob else None

    def heard(self, waveform: np.ndarray, rng: np.random.Generator, *, normalized: bool = True) -> np.ndarray:
        """Augment a whole utterance (S,) and normalize it if asked to; its length changes with its speed.

        Raises:
            AudioError: a noise or impulse response that was drawn cannot be decoded.
            Unreachable: it cannot be read at the moment.
        """
        *before, gain = self.distortions()
        *draws, last = rng.spawn(len(before) + 1)
        for (probability, distort), draw in zip(before, draws, strict=True):
            if draw.random() < probability:
                waveform = distort(waveform, draw)
        if normalized:
            waveform = normalize(waveform)
        return gain[1](waveform, last) if last.random() < gain[0] else waveform

    def _speed(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return distortions.change_speed(waveform, rng.uniform(self.config.speed_low, self.config.speed_high))

    def _pitch(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        most = self.config.pitch_semitones
        return distortions.change_pitch(waveform, rng.uniform(-most, most))

    def _tempo(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return distortions.change_tempo(waveform, rng.uniform(self.config.stretch_low, self.config.stretch_high))

    def _shift(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        most = int(self.config.shift_seconds * SAMPLE_RATE)
        return distortions.shift(waveform, int(rng.integers(-most, most + 1)))

    def _reverb(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.reverb:
            return distortions.reverberate(waveform, draw_sound(self.reverb, rng))
        seconds, ratio = rng.uniform(0.1, self.config.reverb_seconds), rng.uniform(0, 12)
        return distortions.reverberate(waveform, distortions.synthetic_impulse_response(seconds, ratio, rng))

    def _noise(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        snr = rng.uniform(self.config.noise_snr_low, self.config.noise_snr_high)
        noise = distortions.excerpt(draw_sound(self.noise, rng), waveform.size, rng)
        return distortions.add_noise(waveform, noise, snr)

    def _codec(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        codec = self.config.codecs[int(rng.integers(len(self.config.codecs)))]
        return transcode(waveform, codec, rng.uniform(0, self.config.codec_level))

    def _mask_band(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return distortions.mask_band(waveform, *distortions.draw_band(self.config.frequency_mask_share, rng))

    def _mask_time(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        length = int(rng.uniform(0, self.config.time_mask_share) * waveform.size)
        return distortions.mask_time(waveform, int(rng.integers(waveform.size - length + 1)), length)

    def _gain(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        decibels = rng.uniform(-self.config.gain_db, self.config.gain_db)
        return waveform * np.float32(10 ** (decibels / 20))


def build_augmenter(config: AugmentConfig, *, max_bad_share: float, workers: int) -> Augmenter | None:
    """Open noises and impulse responses; None where everything is off.

    Raises:
        ManifestError: a list of noises or impulse responses cannot be used.
        StorageError: prepared ones cannot be reached.
    """
    noise, reverb = (
        open_corpus(sources, min_samples=MIN_SAMPLES, max_bad_share=max_bad_share, workers=workers).sources
        if sources and wanted
        else []
        for sources, wanted in ((config.noise, config.noise_prob), (config.reverb, config.reverb_prob))
    )
    augmenter = Augmenter(config, noise, reverb)
    on = config.mix_prob or any(probability for probability, _ in augmenter.distortions())
    return augmenter if on else None


def draw_sound(sources: Sequence[Source], rng: np.random.Generator) -> np.ndarray:
    """Samples (S,) of one utterance, each as likely as the other."""
    number, entries = draw_entry(sources, rng)
    return drawn(sources[number].load(entries))[1]


def draw_entry(sources: Sequence[Source], rng: np.random.Generator) -> tuple[int, np.ndarray]:
    """The source of one utterance, each as likely as the other, and its entry there."""
    ends = np.cumsum([int(source.counts.sum()) for source in sources])
    place = int(rng.integers(ends[-1]))
    number = int(np.searchsorted(ends, place, side="right"))
    first = place - (int(ends[number - 1]) if number else 0)
    return number, sources[number].entries([(first, first + 1)])


def drawn(loaded: Sequence[Loaded]) -> tuple[str, np.ndarray]:
    """Id and samples (S,) of the only utterance that was loaded.

    Raises:
        AudioError: it cannot be decoded.
    """
    ((name, samples),) = loaded
    if isinstance(samples, AudioError):
        raise AudioError(f"{name}, drawn for augmentation: {samples}")
    return name, samples
