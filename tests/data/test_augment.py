from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from data.helpers import batches
from scipy.signal import butter, fftconvolve, sosfilt

from emotion2vec.audio.samples import normalize
from emotion2vec.data.augment import Augmenter, build_augmenter
from emotion2vec.data.codecs import CODECS, WIDE, transcode
from emotion2vec.data.config import AugmentConfig, augment_warnings, check_augment
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.distortions import (
    add_noise,
    change_pitch,
    change_speed,
    change_tempo,
    clip,
    draw_band,
    excerpt,
    mask_band,
    mask_time,
    mix,
    reverberate,
    reverse,
    shift,
    synthetic_impulse_response,
)
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import Source

RATE = 16_000
OPEN = {"max_bad_share": 0.0, "workers": 0}
EVERYTHING = AugmentConfig(mix_prob=0.5, noise_prob=0.7, reverb_prob=0.5, speed_prob=0.5, clip_prob=0.5, gain_prob=0.5)


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
def test_excerpts_repeat_what_is_short(size: int, length: int) -> None:
    for seed in range(10):
        found = excerpt(np.arange(size), length, np.random.default_rng(seed))
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


def test_clips_are_mixed_with_others_of_what_is_trained_on(corpora: Path) -> None:
    """Clips of noise have nothing to do with each other, so that a correlation is the share of one."""
    seen = run(corpora, AugmentConfig(mix_prob=0.5, mix_least=0.3), 12, pad=True, max_samples=32_000)
    mixed = 0
    for batch in seen:
        assert len(batch.mixtures) == len(batch.ids)
        for name, heard, mixture in zip(batch.ids, batch.waveforms, batch.mixtures, strict=True):
            own, _ = soundfile.read(corpora / "speech" / f"{name.removesuffix('.wav')}.wav", dtype="float32")
            share = 1.0 if mixture is None else mixture.share
            likeness = np.corrcoef(own, heard[: own.size].numpy())[0, 1]
            if mixture is None or mixture.other != name:
                assert likeness == pytest.approx(share / np.hypot(share, 1 - share), abs=0.04)
            assert mixture is None or (0.3 <= share <= 1 and mixture.other.startswith("speech"))
            mixed += mixture is not None
    assert 0.3 < mixed / sum(len(batch.ids) for batch in seen) < 0.7
    assert run(corpora, AugmentConfig(gain_prob=0.5), 1)[0].mixtures == []


def test_a_noise_that_cannot_be_decoded_is_named(corpora: Path, tmp_path: Path) -> None:
    samples = np.full(8_000, np.nan, dtype=np.float32)
    soundfile.write(tmp_path / "broken.wav", samples, RATE, subtype="FLOAT")
    config = AugmentConfig(noise=[str(tmp_path / "broken.wav")], noise_prob=0.5)
    seen = run(corpora, config, 8)
    faults = [fault for batch in seen for fault in batch.skipped]
    assert faults and all("broken, drawn for augmentation: " in fault.reason for fault in faults)
    assert all(torch.isfinite(batch.waveforms).all() for batch in seen)


def voice(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A pulse train through one resonance: something with a period and a formant, as a vowel has."""
    pulses = np.zeros(int(seconds * RATE))
    pulses[np.arange(0, len(pulses), RATE / hertz).astype(int)] = 1.0
    sections = butter(2, (500.0, 900.0), btype="bandpass", fs=RATE, output="sos")
    heard = sosfilt(sections, pulses)
    return (0.3 * heard / np.abs(heard).max()).astype(np.float32)


def period(samples: np.ndarray) -> float:
    """The lag in samples at which the autocorrelation of the middle peaks again, between 60 and 400 Hz."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    low, high = RATE // 400, RATE // 60
    best = low + int(np.argmax(correlation[low:high]))
    a, b, c = correlation[best - 1 : best + 2]
    return best + 0.5 * (a - c) / (a - 2 * b + c)  # the top of the parabola through three points


def noise_of(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype(np.float32)


def share_between(samples: np.ndarray, low: float, high: float) -> float:
    """Of the energy, what lies between two frequencies."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(hertz > low) & (hertz < high)].sum() / spectrum.sum())


@pytest.mark.parametrize("semitones", [-5.0, -1.0, 2.0, 7.0])
def test_pitch_changes_by_its_ratio_and_duration_does_not(semitones: float) -> None:
    before = voice(130.0)
    after = change_pitch(before, semitones)
    assert after.shape == before.shape and after.dtype == np.float32
    assert period(before) / period(after) == pytest.approx(2 ** (semitones / 12), rel=0.01)
    assert power(after) == pytest.approx(power(before), rel=0.35)


@pytest.mark.parametrize("factor", [0.8, 1.25, 1.6])
def test_tempo_changes_duration_and_pitch_does_not(factor: float) -> None:
    before = voice(130.0, 2.0)
    before[RATE:] = 0
    after = change_tempo(before, factor)
    assert abs(len(after) - 2 * RATE / factor) <= 1
    end = np.flatnonzero(np.abs(after) > 0.05)[-1]
    assert end / RATE == pytest.approx(1 / factor, abs=0.06)
    assert period(after[: end // 2]) == pytest.approx(period(before[: RATE // 2]), rel=0.01)
    np.testing.assert_array_equal(after, change_tempo(before, factor))


def test_reversal_and_shifts_keep_every_sample() -> None:
    before = noise_of(0.1)
    np.testing.assert_array_equal(reverse(before), before[::-1])
    later, earlier = shift(before, 300), shift(before, -300)
    np.testing.assert_array_equal(later[300:], before[:-300])
    np.testing.assert_array_equal(later[:300], before[-300:])
    np.testing.assert_array_equal(earlier[:-300], before[300:])


@pytest.mark.parametrize("size", [RATE, RATE - 7])
def test_a_masked_band_is_empty_and_the_rest_untouched(size: int) -> None:
    before = noise_of()[:size]
    after = mask_band(before, 1_000.0, 2_000.0)
    assert after.shape == before.shape and after.dtype == np.float32
    assert share_between(before, 1_000, 2_000) > 0.1
    assert share_between(after, 1_000, 2_000) < 1e-3
    removed = before - after
    assert share_between(removed, 940, 2_060) > 0.999


def test_masked_bands_are_as_wide_as_asked_in_mel_and_everywhere() -> None:
    rng = np.random.default_rng(0)
    bands = np.array([draw_band(0.2, rng) for _ in range(2_000)])
    mel = 2595 * np.log10(1 + bands / 700)
    top = 2595 * np.log10(1 + 8_000 / 700)
    widths = (mel[:, 1] - mel[:, 0]) / top
    assert 0 <= widths.min() < 0.005 and 0.195 < widths.max() <= 0.2
    assert bands.min() >= 0 and bands.max() <= 8_000
    assert np.histogram(mel.mean(axis=1), bins=5, range=(0, top))[0].min() > 200


def test_masked_time_is_silent() -> None:
    before = noise_of()
    after = mask_time(before, 4_000, 800)
    assert not after[4_000:4_800].any()
    kept = np.r_[0:4_000, 4_800:RATE]
    np.testing.assert_array_equal(after[kept], before[kept])
    assert before.all()


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_keep_time_and_what_their_band_holds(codec: str) -> None:
    middle = butter(6, (600.0, 2_500.0), btype="bandpass", fs=RATE, output="sos")
    before = sosfilt(middle, noise_of(0.5)).astype(np.float32)
    after = transcode(before, codec, 0.5)
    assert after.shape == before.shape and after.dtype == np.float32
    assert np.corrcoef(before, after)[0, 1] > (0.6 if codec == "gsm" else 0.95)
    lags = np.correlate(after, before[200:-200], "valid")
    assert np.argmax(lags) == 200
    full = noise_of(0.5)
    heard = transcode(full, codec, 0.5)
    if codec in WIDE:
        assert share_between(heard, 300, 3_400) == pytest.approx(share_between(full, 300, 3_400), abs=0.1)
        assert share_between(heard, 4_000, 7_000) > 0.2
    else:
        assert share_between(heard, 4_100, 8_000) < 1e-3
        assert share_between(heard, 300, 3_400) > 0.9
    assert power(heard - full) > 0


def test_mu_law_quantizes_as_its_standard_says() -> None:
    """ITU-T G.711: some 38 dB of signal to quantization noise, over a wide range of levels."""
    for level in (0.02, 0.2):
        speech = transcode((level * noise_of() / 0.1).astype(np.float32), "telephone", 0.0)
        error = transcode(speech, "mulaw", 0.0) - transcode(speech, "telephone", 0.0)
        assert 34 < 10 * np.log10(power(speech) / power(error)) < 40


@pytest.mark.parametrize("codec", ["opus", "gsm"])
def test_codecs_take_what_is_loud_short_or_silent(codec: str) -> None:
    loud = transcode(tone(440.0) * 10, codec, 0.5)
    assert np.abs(loud).max() == pytest.approx(3.0, rel=0.25)
    for samples in (np.zeros(RATE, np.float32), noise_of()[:400]):
        assert np.isfinite(transcode(samples, codec, 0.5)).all()


def test_stronger_compression_loses_more() -> None:
    before = noise_of()
    for codec in WIDE:
        losses = [power(transcode(before, codec, level) - before) for level in (0.0, 0.95)]
        assert losses[1] > 1.5 * losses[0], codec


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_mixtures_are_as_loud_as_the_clip_that_they_begin_with(share: float) -> None:
    first, second = noise_of(1.0, 1), 5 * noise_of(3.0, 2)
    mixture = mix(first, second, share, np.random.default_rng(0))
    assert mixture.shape == first.shape and mixture.dtype == np.float32
    assert power(mixture) == pytest.approx(power(first), rel=0.03)  # two clips that have nothing to do with each other
    # the first clip's part is found by regression, as they are uncorrelated
    part = float(np.dot(mixture, first) / np.dot(first, first))
    assert part == pytest.approx(share / np.hypot(share, 1 - share), abs=0.02)
    assert np.isfinite(mix(first, np.zeros(10, np.float32), 0.5, np.random.default_rng(0))).all()


ON = [
    "speed_prob",
    "pitch_prob",
    "stretch_prob",
    "reverse_prob",
    "shift_prob",
    "reverb_prob",
    "clip_prob",
    "codec_prob",
    "frequency_mask_prob",
    "time_mask_prob",
    "gain_prob",
]


@pytest.mark.parametrize("name", ON)
def test_each_distortion_is_turned_on_by_its_name(name: str) -> None:
    assert {one for one in vars(AugmentConfig()) if one.endswith("_prob")} == {*ON, "noise_prob", "mix_prob"}
    before = noise_of(0.5)
    augmenter = build_augmenter(AugmentConfig(**{name: 1.0}), **OPEN)
    assert augmenter is not None
    first, again, other = (augmenter.heard(before, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and np.isfinite(first).all()
    assert len(first) != len(before) or not np.allclose(first, normalize(before))
    if name != "reverse_prob":
        assert len(first) != len(other) or not np.allclose(first, other)


def test_turning_one_on_leaves_the_others_as_they_are() -> None:
    before, key = noise_of(0.5), 3
    gain = Augmenter(AugmentConfig(gain_prob=1.0)).heard(before, np.random.default_rng(key)).std()
    both = Augmenter(AugmentConfig(gain_prob=1.0, shift_prob=1.0)).heard(before, np.random.default_rng(key)).std()
    assert both == pytest.approx(gain, rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"stretch_low": 1.2}, "augment.stretch_low is 1.2, expected at most augment.stretch_high (1.1)"),
        ({"codecs": ["mp3", "aac"]}, "augment.codecs has aac, expected some of mp3, opus, vorbis, gsm, mulaw"),
        ({"codec_prob": 0.5, "codecs": []}, "augment.codec_prob is 0.5 and augment.codecs empty, expected some of mp3"),
    ],
)
def test_combinations_that_cannot_work_are_named(changed: dict, fault: str) -> None:
    (found,) = check_augment(AugmentConfig(**changed))
    assert found.startswith(fault)
    assert check_augment(AugmentConfig()) == []


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.data.config.find_spec", lambda name: None)
    monkeypatch.setattr("soundfile.available_subtypes", lambda container: {"PCM_16": ""})
    found = check_augment(AugmentConfig(pitch_prob=0.1, codec_prob=0.2, codecs=["opus", "telephone"]))
    assert found == [
        "augment.pitch_prob is 0.1, which needs the package python-stretch: pip install 'emotion2vec[stretch]'",
        "augment.codecs has opus, which the libsndfile of this machine cannot encode, expected others",
    ]


def test_what_changes_the_emotion_is_said() -> None:
    assert augment_warnings(AugmentConfig(gain_prob=1.0)) == []
    (reversal,) = augment_warnings(AugmentConfig(reverse_prob=0.1))
    assert reversal.startswith("augment.reverse_prob is 0.1, which changes the emotion that is heard: ")
