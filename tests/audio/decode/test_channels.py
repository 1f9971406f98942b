"""Channels that cancel each other. S: samples. C: channels."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.decode import LOUDER_CHANNEL, Note, reading
from emotion2vec.audio.samples import load_audio
from emotion2vec.errors import AudioError

RATE = 16_000


def heard(source: object, rate: int | None = None) -> tuple[np.ndarray, list[str]]:
    notes: list[Note] = []
    return load_audio(source, rate, notes=notes), [note.kind for note in notes]  # type: ignore[arg-type]


@pytest.mark.parametrize("gain", [-1.0, -0.95, -1.08])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_the_louder_of_two_opposite_channels_is_taken(
    sound: np.ndarray, encode: Callable[..., bytearray], gain: float, offset: float
) -> None:
    pair = np.stack([0.5 * sound + offset, 0.5 * gain * sound + offset])
    louder = 0 if abs(gain) <= 1 else 1
    for source, rate in ((pair, RATE), (bytes(encode(pair, subtype="FLOAT")), None)):
        loaded, found = heard(source, rate)
        np.testing.assert_allclose(loaded, pair[louder], atol=1e-6)
        assert found == [LOUDER_CHANNEL]


def test_half_a_file_in_opposite_phase_is_enough(sound: np.ndarray) -> None:
    other = sound.copy()
    other[sound.size // 2 :] *= -1
    loaded, found = heard(np.stack([sound, other]), RATE)
    np.testing.assert_array_equal(loaded, sound)
    assert found == [LOUDER_CHANNEL]


def test_channels_that_only_differ_are_averaged(sound: np.ndarray) -> None:
    noise = 0.2 * np.random.default_rng(7).standard_normal((8, sound.size)).astype(np.float32)
    for channels in (
        np.stack([sound, sound]),
        np.stack([sound, np.zeros_like(sound)]),
        np.stack([sound, -0.5 * sound]),
        np.stack([sound, np.roll(sound, 400)]),
        noise[:2],
        noise,
        np.zeros((2, 5_000), np.float32),
        np.stack([np.full(5_000, 0.5), np.full(5_000, -0.5)]).astype(np.float32),
    ):
        loaded, found = heard(channels, RATE)
        assert found == []
        np.testing.assert_allclose(loaded, channels.mean(axis=0), atol=1e-7)


def test_a_channel_that_was_asked_for_is_taken_without_a_word(sound: np.ndarray) -> None:
    notes: list[Note] = []
    loaded = load_audio(np.stack([sound, -sound]), RATE, channel=1, notes=notes)
    np.testing.assert_array_equal(loaded, -sound)
    assert notes == []


def test_long_audio_is_judged_as_a_whole_and_not_held(
    sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_VALUES", 20_000)
    monkeypatch.setattr(reading, "HELD_SAMPLES", 60_000)
    quiet = 0.01 * sound[:RATE]
    mono = np.concatenate([quiet, sound])
    soundfile.write(tmp_path / "a.wav", np.stack([mono, np.concatenate([quiet, -sound])]).T, RATE, subtype="FLOAT")
    loaded, found = heard(tmp_path / "a.wav")
    np.testing.assert_array_equal(loaded, mono)
    assert found == [LOUDER_CHANNEL]


def test_it_is_said_once_for_each_file(sound: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([sound, -0.99 * sound]).T, RATE)
    with caplog.at_level(logging.WARNING):
        for start in (0.0, 1.0, 2.0):
            load_audio(tmp_path / "a.wav", start=start, duration=1.0)
    (record,) = caplog.records
    assert str(tmp_path / "a.wav") in record.getMessage() and "channel 0" in record.getMessage()


def test_long_audio_that_is_read_once_more_is_not_judged_again(
    sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_VALUES", 20_000)
    monkeypatch.setattr(reading, "HELD_SAMPLES", 60_000)
    for name, gain in (("a.wav", -1.0), ("b.wav", 0.5)):
        soundfile.write(tmp_path / name, np.stack([sound, gain * sound]).T, RATE, subtype="FLOAT")
        first = heard(tmp_path / name)
        with monkeypatch.context() as patch:
            patch.setattr(reading, "ChannelMeter", None)
            again = heard(tmp_path / name)
        np.testing.assert_array_equal(again[0], first[0])
        assert again[1] == first[1]
    soundfile.write(tmp_path / "a.wav", np.stack([0.5 * sound, 0.5 * sound]).T, RATE, subtype="PCM_24")
    assert heard(tmp_path / "a.wav")[1] == []  # it is another file now


@pytest.mark.parametrize("samples", [0, 10])
@pytest.mark.parametrize("channels", [1, 2])
def test_next_to_nothing_is_too_short_with_any_number_of_channels(channels: int, samples: int) -> None:
    with pytest.raises(AudioError, match="too short"):
        load_audio(np.zeros((channels, samples), np.float32), RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_channel_that_is_not_finite_is_a_fault_and_not_one_that_cancels(tmp_path: Path, value: float) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (16_000, 2)).astype(np.float32)
    samples[5_000, 0] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="1 of 16000 samples are NaN or infinite"):
        load_audio(tmp_path / "a.wav")


def test_short_audio_of_two_channels_is_decoded_once() -> None:
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.taken += len(found)
            return found

        def readinto(self, buffer: Any, /) -> int:
            count = super().readinto(buffer)
            self.taken += count
            return count

    encoded = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, (160_000, 2)).astype(np.float32)
    soundfile.write(encoded, samples, 16_000, format="WAV", subtype="FLOAT")
    source = Counted(encoded.getvalue())
    np.testing.assert_allclose(load_audio(source), samples.mean(axis=1), atol=1e-6)
    assert len(encoded.getvalue()) <= source.taken < 1.5 * len(encoded.getvalue())
