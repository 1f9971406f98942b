from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from data.helpers import batches
from scipy.signal import fftconvolve

from emotion2vec.audio.samples import normalize
from emotion2vec.data.augment import (
    Augmenter,
    add_noise,
    build_augmenter,
    change_speed,
    clip,
    reverberate,
    stretch,
    synthetic_impulse_response,
)
from emotion2vec.data.config import AugmentConfig
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import Source

RATE = 16_000
OPEN = {"max_bad_share": 0.0, "workers": 0}
EVERYTHING = AugmentConfig(noise_prob=0.7, reverb_prob=0.5, speed_prob=0.5, clip_prob=0.5, gain_prob=0.5)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.25])
def test_speed_scales_length_and_pitch(factor: float) -> None:
    fast = change_speed(tone(440.0), factor)
    assert fast.dtype == np.float32
    assert abs(len(fast) - RATE / factor) <= 1
    peak = np.argmax(np.abs(np.fft.rfft(fast * np.hanning(len(fast))))) * RATE / len(fast)
    assert peak == pytest.approx(440 * factor, abs=1.5)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
def test_noise_is_added_at_its_ratio(snr: float) -> None:
    speech, noise = tone(440.0), np.random.default_rng(0).normal(0, 2.0, RATE).astype(np.float32)
    mixed = add_noise(speech, noise, snr)
    assert mixed.dtype == np.float32 and mixed.shape == speech.shape
    added = mixed - speech
    assert 10 * np.log10(power(speech) / power(added)) == pytest.approx(snr, abs=0.05)
    assert np.corrcoef(added, noise)[0, 1] > 0.999


def test_silence_survives_everything() -> None:
    silence, noise = np.zeros(RATE, dtype=np.float32), np.ones(RATE, dtype=np.float32)
    for found in (
        add_noise(silence, noise, 0.0),
        add_noise(tone(440.0), silence, 0.0),
        reverberate(silence, noise[:100]),
        clip(silence, 12.0),
    ):
        assert np.isfinite(found).all()


def test_reverberation_is_an_aligned_convolution_of_the_same_power() -> None:
    rng = np.random.default_rng(0)
    speech, response = rng.normal(size=4_000).astype(np.float32), rng.normal(0, 0.1, 300).astype(np.float32)
    response[20] = 1.0
    expected = fftconvolve(speech, response)[20 : 20 + 4_000]
    expected *= np.sqrt(power(speech) / power(expected))
    np.testing.assert_allclose(reverberate(speech, response), expected, atol=1e-3)


def test_synthetic_rooms_decay_as_asked() -> None:
    response = synthetic_impulse_response(0.5, 3.0, np.random.default_rng(0))
    assert response[0] == response.max() == 1.0
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(3.0, abs=0.1)
    remaining = 10 * np.log10(np.cumsum(response[:0:-1].astype(np.float64) ** 2)[::-1])  # Schroeder's integral
    slope = np.polyfit(np.arange(800, 5_600) / RATE, remaining[800:5_600], 1)[0]
    assert slope == pytest.approx(-60 / 0.5, rel=0.05)


def test_clipping_is_below_the_peak() -> None:
    clipped = clip(tone(440.0), 6.0)
    assert np.abs(clipped).max() == pytest.approx(0.3 * 10 ** (-6 / 20), rel=1e-3)
    assert power(clipped) < power(tone(440.0))
    np.testing.assert_array_equal(clip(tone(440.0), 0.0), tone(440.0))


@pytest.mark.parametrize(("size", "length"), [(10, 4), (10, 10), (3, 50)])
def test_stretches_repeat_what_is_short(size: int, length: int) -> None:
    for seed in range(10):
        found = stretch(np.arange(size), length, np.random.default_rng(seed))
        assert len(found) == length
        assert ((np.diff(found) == 1) | (np.diff(found) == 1 - size)).all()


def test_gain_comes_after_normalization() -> None:
    augmenter = Augmenter(AugmentConfig(gain_prob=1.0, gain_db=6.0))
    gains = [augmenter.heard(tone(440.0), np.random.default_rng(seed)).std() for seed in range(50)]
    decibels = 20 * np.log10(gains)
    assert -6 <= decibels.min() < -4 and 4 < decibels.max() <= 6


def test_probabilities_are_shares() -> None:
    augmenter, waveform = Augmenter(AugmentConfig(speed_prob=0.3)), tone(440.0, 0.1)
    lengths = [len(augmenter.heard(waveform, np.random.default_rng(seed))) for seed in range(400)]
    assert np.mean(np.array(lengths) != 1_600) == pytest.approx(0.3, abs=0.07)


def test_off_is_off() -> None:
    assert build_augmenter(AugmentConfig(), **OPEN) is None
    untouched = Augmenter(AugmentConfig()).heard(tone(440.0), np.random.default_rng(0))
    np.testing.assert_array_equal(untouched, normalize(tone(440.0)))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech, noise and impulse responses."""
    folder, rng = tmp_path_factory.mktemp("corpora"), np.random.default_rng(0)
    for name, count, seconds in (("speech", 16, 0.8), ("noise", 3, 0.4), ("rooms", 2, 0.1)):
        (folder / name).mkdir()
        for number in range(count):
            samples = rng.normal(0, 0.1, int(RATE * (seconds + 0.05 * number)))
            soundfile.write(folder / name / f"{name}{number}.wav", samples, RATE)
    return folder


def sources(corpora: Path) -> list[Source]:
    return open_corpus([str(corpora / "speech")], min_samples=8_000, **OPEN).sources


def run(corpora: Path, config: AugmentConfig, count: int, **changed) -> list[MicroBatch]:
    augmenter = build_augmenter(config, **OPEN)
    settings = {"batch_seconds": 3.0, "max_samples": 16_000, "buckets": 2, "seed": 1, "accumulate": 2, **changed}
    iterator = batches(sources(corpora), **settings, augmenter=augmenter)
    taken = list(islice(iterator, count))
    iterator.close()
    return taken


def test_augmented_batches_are_keyed_and_resume(corpora: Path) -> None:
    config = AugmentConfig(
        **{**vars(EVERYTHING), "noise": [str(corpora / "noise")], "reverb": [str(corpora / "rooms")]}
    )
    whole = run(corpora, config, 12)
    assert [batch.skipped for batch in whole] == [[]] * 12
    for changed in ({"workers": 2}, {"start": whole[4].position}, {"cache": True}):
        again = run(corpora, config, 12, **changed)
        for ours, theirs in zip(again, whole[5:] if "start" in changed else whole, strict=False):
            assert ours.ids == theirs.ids and torch.equal(ours.waveforms, theirs.waveforms)
    plain = run(corpora, AugmentConfig(), 12)
    assert [batch.ids for batch in plain] == [batch.ids for batch in whole]
    assert not any(torch.equal(a.waveforms, b.waveforms) for a, b in zip(plain, whole, strict=True))
    assert all(batch.waveforms.numel() <= 3 * RATE for batch in whole)


def test_a_noise_that_cannot_be_decoded_is_named(corpora: Path, tmp_path: Path) -> None:
    samples = np.full(8_000, np.nan, dtype=np.float32)
    soundfile.write(tmp_path / "broken.wav", samples, RATE, subtype="FLOAT")
    config = AugmentConfig(noise=[str(tmp_path / "broken.wav")], noise_prob=0.5)
    seen = run(corpora, config, 8)
    faults = [fault for batch in seen for fault in batch.skipped]
    assert faults and all("broken, drawn for augmentation: " in fault.reason for fault in faults)
    assert all(torch.isfinite(batch.waveforms).all() for batch in seen)
