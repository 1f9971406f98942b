"""The student hears a distorted crop, the teacher the same stretch as it was."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.data.augment import Augmenter
from emotion2vec.data.batches import batches
from emotion2vec.data.config import MOVING, AugmentConfig, DataConfig
from emotion2vec.data.corpus import open_corpus
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Stream

DATA = DataConfig(batch_seconds=3, max_samples=12_000, min_samples=8_000, workers=0)


def take(speech: Path, stream: Stream, augmenter: Augmenter | None = None) -> list[MicroBatch]:
    corpus = open_corpus([str(speech)], min_samples=8_000, max_bad_share=0, workers=0)
    return list(islice(batches(corpus.sources, DATA, stream, augmenter=augmenter), 8))


@pytest.mark.parametrize("student", [True, False])
@pytest.mark.parametrize("teacher", [True, False])
def test_both_hear_the_same_stretch_each_normalized_as_it_wants(speech: Path, student: bool, teacher: bool) -> None:
    augmenter = Augmenter(AugmentConfig(reverb_prob=0.5, clip_prob=1, clip_db=20, gain_prob=0.5))
    stream = Stream(seed=3, normalize=student, clean=teacher, crop_step=320)
    heard_by_both = take(speech, stream, augmenter)
    assert heard_by_both
    for batch in heard_by_both:
        assert batch.clean is not None and batch.clean.shape == batch.waveforms.shape
        for name, start, clean, heard in zip(batch.ids, batch.starts, batch.clean, batch.waveforms, strict=True):
            whole = load_audio(speech / name if (speech / name).exists() else speech / f"{name}.wav")
            whole = normalize(whole) if teacher else whole
            assert start % 320 == 0
            np.testing.assert_array_equal(clean.numpy(), whole[start : start + len(clean)])
            assert not torch.equal(clean, heard)
    plain = take(speech, Stream(seed=3, normalize=teacher, clean=teacher, crop_step=320))
    assert [batch.clean is not None and torch.equal(batch.clean, batch.waveforms) for batch in plain] == [True] * len(
        plain
    )
    assert [batch.starts for batch in plain] == [
        batch.starts for batch in heard_by_both
    ]  # which do not depend on what is done to the audio


def test_nobody_asks_nothing_is_carried(speech: Path) -> None:
    assert {batch.clean is None for batch in take(speech, Stream(seed=3))} == {True}


@pytest.mark.parametrize("name", [f.name for f in fields(AugmentConfig) if f.name.endswith("_prob")])
def test_what_is_not_said_to_move_sounds_leaves_them_where_they_are(name: str, tmp_path: Path) -> None:
    """Clicks of known places, found again by the best lag; length is kept too."""
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(1).normal(size=16_000), 16_000)
    noise = open_corpus([str(tmp_path)], min_samples=400, max_bad_share=0, workers=0).sources
    rng = np.random.default_rng(0)
    steady = rng.normal(size=32_000) * np.repeat(rng.random(40) > 0.5, 800)  # bursts of noise of 50 ms
    waveform = np.convolve(steady, np.hanning(9), "same").astype(np.float32) * 0.05
    kind = name.removesuffix("_prob")
    try:
        augmenter = Augmenter(AugmentConfig(**{name: 1.0, "speed_low": 1.1, "stretch_low": 1.1}), noise)
        heard = augmenter.heard(waveform, np.random.default_rng(5), normalized=False)
    except ImportError:
        pytest.skip("needs an extra")
    if kind in MOVING:
        assert heard.size != waveform.size or abs(lag(heard, waveform)) > 160
    else:
        assert heard.size == waveform.size and abs(lag(heard, waveform)) <= 160


def lag(heard: np.ndarray, waveform: np.ndarray) -> int:
    """By how many samples the level of one lies after the other's."""
    one, other = (np.convolve(np.abs(x), np.ones(400), "same") for x in (heard, waveform))
    one, other = one - one.mean(), other - other.mean()
    spectrum = np.fft.rfft(one, 2 * one.size) * np.conj(np.fft.rfft(other, 2 * one.size))
    place = int(np.fft.irfft(spectrum).argmax())
    return place if place < one.size else place - 2 * one.size
