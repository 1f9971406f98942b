"""What is done to test clips before they are scored again.

What is drawn depends on the seed, the kind of distortion and the clip, and not on its level or on the model: all
levels and all models hear the same noise.

S: samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from emotion2vec.audio.frames import MIN_SAMPLES
from emotion2vec.data import distortions
from emotion2vec.data.augment import draw_sound
from emotion2vec.data.codecs import transcode
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.sources import Source
from emotion2vec.finetune.evaluation.settings import COLOURS, RobustnessSettings
from emotion2vec.seeding import keyed_seed

DIRECT_RATIO = 6.0
"""Direct sound to reverberation of synthetic rooms, in dB."""


@dataclass(frozen=True)
class Condition:
    """A distortion of waveforms as they are recorded.

    Attributes:
        kind: of distortion, such as `pink noise`.
        level: how much of it, such as `SNR 10 dB`; empty where there is one.
        apply: changes a waveform (S,) by what it draws, and keeps its length.
    """

    kind: str
    level: str
    apply: Callable[[np.ndarray, np.random.Generator], np.ndarray]

    def distorted(self, waveform: np.ndarray, name: str, seed: int) -> np.ndarray:
        """The waveform (S,) of the clip of that name under the condition."""
        random = np.random.default_rng(keyed_seed("robustness", seed, self.kind, name))
        return self.apply(waveform, random).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Attack:
    """An adversarial change of what the network hears, see `emotion2vec.tasks.perturbation.adversarial`.

    Attributes:
        kind: `FGSM`, or `PGD` with its steps.
        level: the bound in words.
        epsilon: the bound.
        steps: how many.
    """

    kind: str
    level: str
    epsilon: float
    steps: int


def conditions_of(settings: RobustnessSettings, workers: int) -> list[Condition | Attack]:
    """The conditions that are asked for, in the order of `settings.KINDS`.

    Args:
        settings: checked ones.
        workers: threads that open headers of noise and rooms.

    Raises:
        ManifestError: a list of noise or rooms cannot be used.
        StorageError: it cannot be reached.
    """
    wanted = set(settings.robustness)
    found: list[Condition | Attack] = []
    if "snr" in wanted:
        found += _noises(settings, workers)
    if "reverb" in wanted:
        found += _rooms(settings, workers)
    if "codec" in wanted:
        found += [Condition(codec, "", partial(_coded, codec, settings.codec_level)) for codec in settings.codecs]
    if "clipping" in wanted:
        found += [
            Condition("clipping", f"{level:g} dB below peak", partial(_clipped, level)) for level in settings.clipping
        ]
    if "gain" in wanted:
        found += [Condition("gain", f"{level:+g} dB", partial(_louder, level)) for level in settings.gain]
    if "adversarial" in wanted:
        steps = settings.attack_steps
        kind = "FGSM" if steps == 1 else f"PGD, {steps} steps"
        found += [Attack(kind, f"ε {epsilon:g}", epsilon, steps) for epsilon in settings.epsilon]
    return found


def _noises(settings: RobustnessSettings, workers: int) -> Iterator[Condition]:
    sources = _opened(settings.noise, workers)
    kinds: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
        f"{colour} noise": partial(_coloured, COLOURS[colour]) for colour in settings.colours
    }
    if sources:
        kinds = {"noise": partial(_recorded, sources)}
    for kind, draw in kinds.items():
        for snr in settings.snr:
            yield Condition(kind, f"SNR {snr:g} dB", partial(_noisy, draw, snr))


def _rooms(settings: RobustnessSettings, workers: int) -> Iterator[Condition]:
    if sources := _opened(settings.rooms, workers):
        yield Condition("measured rooms", "", partial(_in_measured_room, sources))
        return
    for seconds in settings.reverb_seconds:
        yield Condition("reverberation", f"T60 {seconds:g} s", partial(_in_room, seconds))


def _opened(names: list[str], workers: int) -> list[Source]:
    if not names:
        return []
    return open_corpus(names, min_samples=MIN_SAMPLES, max_bad_share=0.0, workers=workers).sources


def _coloured(exponent: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    return distortions.coloured_noise(samples, exponent, rng)


def _recorded(sources: list[Source], samples: int, rng: np.random.Generator) -> np.ndarray:
    return distortions.excerpt(draw_sound(sources, rng), samples, rng)


def _noisy(
    draw: Callable[[int, np.random.Generator], np.ndarray],
    snr: float,
    waveform: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    return distortions.add_noise(waveform, draw(waveform.size, rng), snr)


def _in_room(seconds: float, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return distortions.reverberate(waveform, distortions.synthetic_impulse_response(seconds, DIRECT_RATIO, rng))


def _in_measured_room(sources: list[Source], waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return distortions.reverberate(waveform, draw_sound(sources, rng))


def _coded(codec: str, level: float, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return transcode(waveform, codec, level)


def _clipped(level: float, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return distortions.clip(waveform, level)


def _louder(decibels: float, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return waveform * np.float32(10 ** (decibels / 20))
