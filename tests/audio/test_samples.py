"""S: samples. T: frames. C: channels of the audio."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from emotion2vec.audio.decode import AUDIO_SUFFIXES
from emotion2vec.audio.decode.ffmpeg import FfmpegStream
from emotion2vec.audio.decode.sndfile import SndfileStream
from emotion2vec.audio.frames import KERNELS, MIN_SAMPLES, STRIDES, WAVEFORM_GRID, FrameGrid
from emotion2vec.audio.samples import check_waveform, describe_source, load_audio, normalize
from emotion2vec.errors import AudioError

RATE = 16_000


def tone(frequency: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def noise(samples: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, samples).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = "FLOAT") -> bytes:
    """Encode (S,) or (C, S)."""
    stream = io.BytesIO()
    soundfile.write(stream, samples.T, rate, format=format, subtype=subtype)
    return stream.getvalue()


def conv_stack(kernels: tuple[int, ...], strides: tuple[int, ...]) -> nn.Sequential:
    """The convolutions alone, with positive weights so that nothing cancels."""
    convs = [nn.Conv1d(1, 1, kernel, stride, bias=False) for kernel, stride in zip(kernels, strides, strict=True)]
    for conv in convs:
        nn.init.constant_(conv.weight, 1.0)
    return nn.Sequential(*convs).double()


# Frame arithmetic


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 721, 1039, 1040, 16_000, 31_999, 32_000, 32_080, 47_123])
def test_frame_count_is_what_the_convolutions_give(samples: int) -> None:
    assert WAVEFORM_GRID.count(samples) == conv_stack(KERNELS, STRIDES)(torch.zeros(1, 1, samples).double()).shape[2]


@pytest.mark.parametrize(("kernels", "strides"), [((10, 3), (5, 2)), ((4, 4, 4), (3, 3, 1)), ((7,), (7,))])
def test_frame_count_follows_other_convolutions(kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    stack, grid = conv_stack(kernels, strides), FrameGrid.of_waveform(kernels, strides)
    for samples in range(grid.samples(1), 140):
        assert grid.count(samples) == stack(torch.zeros(1, 1, samples).double()).shape[2]


@pytest.mark.parametrize("samples", [0, 1, 9, 10, 399])
def test_too_few_samples_give_no_frame_and_break_the_convolutions(samples: int) -> None:
    assert WAVEFORM_GRID.count(samples) == 0
    with pytest.raises(RuntimeError):
        conv_stack(KERNELS, STRIDES)(torch.zeros(1, 1, samples).double())


def test_receptive_field_and_stride_are_those_of_the_gradients() -> None:
    samples = torch.zeros(1, 1, 2000, dtype=torch.float64, requires_grad=True)
    frames = conv_stack(KERNELS, STRIDES)(samples)[0, 0]
    seen = [torch.autograd.grad(frames[t], samples, retain_graph=True)[0][0, 0].nonzero().flatten() for t in (0, 1, 2)]
    assert [int(s[0]) for s in seen] == [0, WAVEFORM_GRID.stride, 2 * WAVEFORM_GRID.stride] == [0, 320, 640]
    assert {int(s[-1] - s[0]) + 1 for s in seen} == {WAVEFORM_GRID.samples(1)} == {MIN_SAMPLES} == {400}


def test_ten_seconds_give_499_frames_and_not_samples_divided_by_320() -> None:
    assert WAVEFORM_GRID.count(160_000) == 499 != 160_000 // 320


# Samples in memory


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_integers_of_full_scale_become_plus_minus_one(dtype: type) -> None:
    info = np.iinfo(dtype)
    samples: np.ndarray = np.tile(np.array([info.min, info.max, 0, info.min // 2], dtype), 100)
    loaded = load_audio(samples, RATE)
    assert loaded.dtype == np.float32
    expected = np.tile([-1.0, info.max / (info.max + 1), 0.0, -0.5], 100)
    np.testing.assert_allclose(loaded, expected, rtol=0, atol=1e-7)


def test_int16_samples_equal_the_same_pcm_file() -> None:
    samples = (noise() * 32767).astype(np.int16)
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples.astype("<i2").tobytes())
    np.testing.assert_array_equal(load_audio(samples, RATE), load_audio(stream.getvalue()))
    np.testing.assert_array_equal(load_audio(samples.astype(">i2"), RATE), load_audio(stream.getvalue()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_keep_their_values(dtype: type) -> None:
    samples: np.ndarray = noise().astype(dtype)
    loaded = load_audio(samples, RATE)
    assert loaded.dtype == np.float32 and loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, samples.astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_float_tensors_keep_their_values(dtype: torch.dtype) -> None:
    samples = torch.from_numpy(noise()).to(dtype).requires_grad_()
    np.testing.assert_array_equal(load_audio(samples, RATE), samples.detach().float().numpy())


def test_an_int16_tensor_is_scaled() -> None:
    assert load_audio(torch.full((400,), -16384, dtype=torch.int16), RATE).tolist() == [-0.5] * 400


def test_the_callers_array_is_left_alone() -> None:
    samples = noise()
    before = samples.copy()
    normalize(load_audio(samples, RATE))
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("dtype", str.split("uint8 uint16 uint32 uint64 int64 bool complex64 <U1"))
@pytest.mark.parametrize("zero", [True, False])
def test_numbers_without_a_full_scale_are_refused(dtype: str, zero: bool) -> None:
    samples = np.full(800, "a" if dtype == "<U1" else 1 - zero).astype(dtype)
    with pytest.raises(AudioError, match=f"samples are {dtype}, expected floats, int8, int16 or int32"):
        load_audio(samples, RATE)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_tensors_without_a_full_scale_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(AudioError, match=r"samples are .*, expected floats, int8, int16 or int32"):
        load_audio(torch.zeros(800, dtype=dtype), RATE)


@pytest.mark.parametrize(
    "samples",
    [np.float32(0.5), np.zeros((1, 1, 800), np.float32), np.zeros((800, 2), np.float32), None],
    ids=["scalar", "3-d", "channels last", "None"],
)
def test_what_is_no_audio_is_refused(samples: object) -> None:
    with pytest.raises(AudioError, match="expected"):
        load_audio(samples, RATE)  # type: ignore[arg-type]


def test_samples_need_their_rate_and_files_bring_theirs(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="need their sample_rate"):
        load_audio(noise())
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(noise()))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(AudioError, match="carries its own sample rate"):
            load_audio(source, RATE)


@pytest.mark.parametrize("rate", [0, -16_000, 999, 1_000_001, float("nan"), "16000"])
def test_a_rate_must_be_one_of_audio(rate: int) -> None:
    with pytest.raises(AudioError, match=f"sample rate is {rate!r}, expected 1000 to 1000000 Hz"):
        load_audio(noise(), rate)


@pytest.mark.parametrize("rate", [1_000, 1_000_000])
def test_the_lowest_and_the_highest_rate(rate: int) -> None:
    assert load_audio(noise(rate), rate).size == pytest.approx(RATE, abs=2)


# Channels


def test_channels_are_averaged_or_chosen() -> None:
    left, right = noise(seed=1), noise(seed=2)
    for source, rate in ((np.stack([left, right]), RATE), (encoded(np.stack([left, right])), None)):
        np.testing.assert_allclose(load_audio(source, rate), (left + right) / 2, atol=1e-7)
        np.testing.assert_array_equal(load_audio(source, rate, channel=0), left)
        np.testing.assert_array_equal(load_audio(source, rate, channel=1), right)


def test_the_mean_of_loud_integer_channels_does_not_overflow() -> None:
    assert load_audio(np.full((2, 400), 30_000, np.int16), RATE).max() == pytest.approx(30_000 / 32_768)


@pytest.mark.parametrize("channel", [-1, 2])
def test_a_channel_that_is_not_there_is_refused(channel: int) -> None:
    for source, rate in ((np.zeros((2, 800), np.float32), RATE), (encoded(np.zeros((2, 800))), None)):
        with pytest.raises(AudioError, match=f"channel: {channel} is asked for.*0 to 1"):
            load_audio(source, rate, channel=channel)


# Stretches


@pytest.mark.parametrize("kind", ["array", "file", "stream"])
@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        (None, None, (0, 8_000)),
        (0.1, 0.2, (1_600, 4_800)),
        (0.1, None, (1_600, 8_000)),
        (None, 0.25, (0, 4_000)),
        (0.3, 0.25, (4_800, 8_000)),  # a twentieth of a second past the end is rounding
        (0.3, 0.31, "ends at 0.61 s"),
        (0.5, 0.05, "ends at 0.55 s"),
        (0.5, None, "starts at 0.5 s"),
        (0.7, None, "starts at 0.7 s"),
        (0.7, 0.2, "ends at 0.9 s"),
        (None, 0.7, "ends at 0.7 s"),
    ],
)
def test_stretches_must_be_in_the_audio(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    start: float | None,
    duration: float | None,
    expected: tuple[int, int] | str,
) -> None:
    """Half a second, whose length is known beforehand, or, of a stream, only once it was read."""
    samples = noise(8_000)
    source, rate = (samples, RATE) if kind == "array" else (encoded(samples), None)
    if kind == "stream":
        monkeypatch.setattr(SndfileStream, "_length", lambda self: None)
        monkeypatch.setattr(SndfileStream, "skip", FfmpegStream.skip)
    if isinstance(expected, str):
        with pytest.raises(AudioError, match=f"the segment {expected}, but the audio has 0.5 s"):
            load_audio(source, rate, start=start, duration=duration)
    else:
        found = load_audio(source, rate, start=start, duration=duration)
        np.testing.assert_array_equal(found, samples[slice(*expected)])


# Rates


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone(rate: int) -> None:
    loaded = load_audio(tone(1000, rate), rate)
    expected = tone(1000, RATE)
    assert abs(loaded.size - expected.size) <= 1
    middle = slice(800, -800)  # the ends ring
    size = min(loaded.size, expected.size)
    np.testing.assert_allclose(loaded[:size][middle], expected[:size][middle], atol=2e-3)


@pytest.mark.parametrize("frequency", [9_500, 12_000, 20_000])
def test_resampling_leaves_nothing_of_what_is_above_8_khz(frequency: int) -> None:
    loaded = load_audio(tone(frequency, 48_000), 48_000)
    assert np.abs(loaded[800:-800]).max() < 1e-3


def test_16_khz_audio_is_not_touched() -> None:
    np.testing.assert_array_equal(load_audio(encoded(noise())), noise())


def test_resampling_comes_after_mixing() -> None:
    samples = np.stack([tone(440, 44_100), tone(880, 44_100)])
    expected = (load_audio(samples[0], 44_100) + load_audio(samples[1], 44_100)) / 2
    np.testing.assert_allclose(load_audio(samples, 44_100), expected, atol=1e-5)


# Length and values


@pytest.mark.parametrize(("samples", "usable"), [(0, False), (1, False), (399, False), (400, True), (401, True)])
def test_the_shortest_audio_has_400_samples(samples: int, usable: bool) -> None:
    if usable:
        assert load_audio(noise(samples), RATE).size == samples
        assert WAVEFORM_GRID.count(samples) == 1
    else:
        with pytest.raises(AudioError, match=f"too short, {samples} samples.*at least 400"):
            load_audio(noise(samples), RATE)


def test_length_counts_after_resampling() -> None:
    with pytest.raises(AudioError, match="too short, 333 samples at 16000 Hz"):
        load_audio(noise(1000), 48_000)
    assert load_audio(noise(200), 8_000).size == 400


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_values_that_are_not_finite_are_refused(value: float, rate: int) -> None:
    samples = noise(4000)
    samples[1234] = value
    with pytest.raises(AudioError, match=r"of \d+ samples are NaN or infinite"):
        load_audio(samples, rate)
    with pytest.raises(AudioError, match="NaN or infinite"):
        load_audio(encoded(samples, rate))


def test_check_waveform_counts_what_is_wrong_and_names_the_audio() -> None:
    samples = noise(500)
    samples[[1, 2, 3]] = np.nan
    with pytest.raises(AudioError, match="clip 7: 3 of 500 samples"):
        check_waveform(samples, "clip 7")
    checked = check_waveform(noise(1000).astype(np.float64)[::2], "strided")
    assert checked.dtype == np.float32 and checked.flags.c_contiguous


# Files


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "PCM_U8", "ULAW"])
def test_wav_subtypes(subtype: str) -> None:
    steps = {"PCM_U8": 2**-7, "ULAW": 2**-4, "PCM_16": 2**-15, "PCM_24": 2**-23}
    loaded = load_audio(encoded(noise(), subtype=subtype))
    np.testing.assert_allclose(loaded, noise(), rtol=0, atol=steps.get(subtype, 1e-7) * 1.01)


@pytest.mark.parametrize(
    ("suffix", "format", "subtype"),
    [
        (".wav", "WAV", "PCM_16"),
        (".flac", "FLAC", "PCM_16"),
        (".ogg", "OGG", "VORBIS"),
        (".opus", "OGG", "OPUS"),
        (".oga", "OGG", "VORBIS"),
        (".mp3", "MP3", None),
        (".aif", "AIFF", "PCM_16"),
        (".aiff", "AIFF", "PCM_16"),
        (".au", "AU", "PCM_16"),
        (".caf", "CAF", "PCM_16"),
        (".w64", "W64", "PCM_16"),
    ],
)
def test_every_suffix_that_a_scan_picks_up_can_be_decoded(
    tmp_path: Path, suffix: str, format: str, subtype: str | None
) -> None:
    assert suffix in AUDIO_SUFFIXES
    rate = 48_000 if subtype == "OPUS" else 44_100
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(encoded(tone(440, rate, 1.0), rate, format, subtype))
    loaded = load_audio(path)
    assert abs(loaded.size - RATE) <= 2000  # mp3 pads
    spectrum = np.abs(np.fft.rfft(loaded))
    assert np.argmax(spectrum) * RATE / loaded.size == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(loaded[2000:-2000] ** 2)) == pytest.approx(0.5 / math.sqrt(2), rel=0.03)


def test_a_path_bytes_and_files_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "Ärger, fröhlich 怒り.flac"
    path.write_bytes(encoded(noise(), format="FLAC", subtype="PCM_24"))
    expected = load_audio(path)
    with open(path, "rb") as stream:
        for source in (str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), stream):
            np.testing.assert_array_equal(load_audio(source), expected)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp3"
    path.write_bytes(encoded(noise()))
    np.testing.assert_array_equal(load_audio(path), noise())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.wav", b"", "empty"),
        ("garbage.wav", bytes(range(256)) * 20, "cannot be decoded"),
        ("text.mp3", b"this is not audio\n" * 50, "cannot be decoded"),
        ("headerless.raw", b"\0\1" * 800, "cannot be decoded"),
        ("header.wav", encoded(noise())[:20], "cannot be decoded"),
        ("none.wav", encoded(np.zeros(0, np.float32)), "no samples"),
        ("page.opus", encoded(tone(440, 48_000), 48_000, "OGG", "OPUS")[:60], "cannot be decoded"),
    ],
    ids=["empty", "garbage", "text", "headerless", "header", "none", "page"],  # Ogg's bytes differ in every process
)
def test_broken_files_are_named_with_the_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=reason) as caught:
        load_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    if not name.endswith(".raw"):  # without a name there is no suffix that says raw
        for source in (content, io.BytesIO(content)):
            with pytest.raises(AudioError):
                load_audio(source)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be opened: No such file"):
        load_audio(tmp_path / "gone.wav")
    with pytest.raises(AudioError, match="cannot be opened: Is a directory"):
        load_audio(tmp_path)


# Normalization


def test_normalize_is_layer_norm_over_samples() -> None:
    samples = 0.01 * noise(5000) + 0.3
    expected = torch.nn.functional.layer_norm(torch.from_numpy(samples).double(), (5000,), eps=1e-5)
    normalized = normalize(samples)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized, expected.numpy(), atol=1e-6)


def test_quiet_audio_is_damped_by_eps_and_silence_stays_zero() -> None:
    quiet = normalize(1e-4 * noise(5000))
    assert quiet.std() == pytest.approx(np.sqrt(np.var(1e-4 * noise(5000)) / (np.var(1e-4 * noise(5000)) + 1e-5)), 1e-3)
    assert not normalize(np.full(400, 0.25, np.float32)).any()


def test_normalize_keeps_its_precision_under_a_large_offset() -> None:
    samples = (1000.0 + noise(20_000)).astype(np.float32)
    exact = samples.astype(np.longdouble)
    exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    np.testing.assert_allclose(normalize(samples), exact.astype(np.float64), atol=1e-5)


# Names


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: "a/b.wav", "a/b.wav"),
        (lambda: Path("a") / "b.wav", str(Path("a") / "b.wav")),
        (lambda: b"12345", "<5 bytes of audio>"),
        (lambda: io.BytesIO(b"123"), "<audio stream>"),
        (lambda: np.zeros((2, 5)), "<audio array of shape (2, 5)>"),
        (lambda: torch.zeros(7), "<audio array of shape (7,)>"),
        (lambda: None, "<NoneType>"),
    ],
)
def test_sources_are_described(make: Callable, name: str) -> None:
    assert describe_source(make()) == name


def test_an_open_file_is_described_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"1")
    with open(path, "rb") as stream:
        assert describe_source(stream) == str(path)


# Real speech


def test_flac_of_real_speech_is_what_soundfile_reads(shared: Path) -> None:
    path = sorted((shared / "data" / "emodb" / "audio").rglob("*.flac"))[0]
    expected, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(load_audio(path), expected)


@pytest.mark.parametrize("corpus", ["nemo", "ased"])
def test_opus_of_real_speech(shared: Path, corpus: str) -> None:
    path = sorted((shared / "data" / corpus).rglob("*.opus"))[0]
    info = soundfile.info(path)
    loaded = load_audio(path)
    assert loaded.size == pytest.approx(info.duration * RATE, abs=2)
    normalized = normalize(loaded)
    expected_std = math.sqrt(loaded.var() / (loaded.var() + 1e-5))  # quiet speech stays a little below 1
    assert abs(normalized.mean()) < 1e-4 and normalized.std() == pytest.approx(expected_std, abs=1e-3)
    assert WAVEFORM_GRID.count(loaded.size) == pytest.approx(info.duration * 50, abs=2)


def test_importing_audio_loads_neither_decoders_nor_torch() -> None:
    script = "import sys, emotion2vec.audio.samples; print({'soundfile', 'soxr', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
