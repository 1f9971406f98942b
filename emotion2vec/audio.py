"""Audio in, 16 kHz mono float32 out; every audio constant, with the frame arithmetic derived from the CNN's strides.

S: samples. T: frames. C: channels of the audio.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from emotion2vec.decode import AudioStream, open_audio
from emotion2vec.errors import AudioError

if TYPE_CHECKING:
    import torch

    AudioSource = str | PathLike[str] | bytes | BinaryIO | np.ndarray | torch.Tensor

SAMPLE_RATE = 16_000
"""Samples per second of everything that the model sees."""

KERNELS = (10, 3, 3, 3, 3, 2, 2)
"""Kernel of each CNN layer, in its own input steps."""

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Stride of each CNN layer, in its own input steps."""

MIN_RATE, MAX_RATE = 1_000, 1_000_000
"""Sample rates that are accepted, in Hz; anything else is a broken header or a mistake."""

DURATION_TOLERANCE = 0.1
"""Seconds by which stated times may run past the end of the audio before it counts as a fault."""

BLOCK_VALUES = 1 << 20
"""Samples times channels that are decoded at once."""

NORMALIZE_EPS = 1e-5
"""Added to the variance in whole-utterance normalization (fairseq's layer norm over samples)."""

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
"""File endings that libsndfile decodes and that a scan of a folder picks up."""


def frame_stride(strides: Sequence[int] = STRIDES) -> int:
    """Samples between the starts of neighbouring frames (320: 20 ms)."""
    return math.prod(strides)


def receptive_field(kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> int:
    """Samples that one frame sees (400: 25 ms), which is also the shortest input that gives a frame."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def frame_count(samples: int, kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> int:
    """Frames that the CNN makes of `samples` samples: the exact convolution arithmetic, 0 if too short."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
        if samples <= 0:
            return 0
    return samples


MIN_SAMPLES = receptive_field()
"""Shortest usable audio, in samples at 16 kHz."""


def load_audio(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    channel: int | None = None,
    start: float | None = None,
    duration: float | None = None,
) -> np.ndarray:
    """Decode, mix to mono and resample to 16 kHz.

    Args:
        source: a path or URL, encoded bytes, an open binary file, or samples in memory: (S,) or (C, S), floats in
            −1 … 1 or int8, int16 or int32 of full scale.
        sample_rate: rate of samples in memory, in Hz; must be absent for encoded audio, which carries its own.
        channel: take this channel, counted from 0, in place of the mean of all.
        start: begin here, in s.
        duration: length from there, in s; None for all until the end.

    Returns:
        (S,) float32 at 16,000 Hz, not normalized.

    Raises:
        AudioError: the audio is missing, cannot be decoded, is shorter than 400 samples, or is not finite, or the
            segment is not inside it.
    """
    blocks = list(audio_blocks(source, sample_rate, channel=channel, start=start, duration=duration))
    waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros(0, np.float32)])  # (S,)
    return check_waveform(waveform, describe_source(source))


def audio_blocks(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    channel: int | None = None,
    start: float | None = None,
    duration: float | None = None,
) -> Iterator[np.ndarray]:
    """Decode, mix and resample as `load_audio` does, block by block, so that memory does not grow with the audio.

    Together the blocks (S,) are bit for bit what `load_audio` returns; finiteness and length are not checked.

    Raises:
        AudioError: as `load_audio`.
    """
    name = describe_source(source)
    if isinstance(source, bytearray | memoryview):
        source = bytes(source)
    if isinstance(source, str | PathLike | bytes) or hasattr(source, "read"):
        if sample_rate is not None:
            raise AudioError(f"{name}: encoded audio carries its own sample rate, so sample_rate must not be given")
        with open_audio(source, name) as stream:  # type: ignore[arg-type]
            _check_format(stream.rate, stream.channels, channel, name)
            yield from _resampled(_mono_blocks(stream, channel, start, duration, name), stream.rate)
        return
    if sample_rate is None:
        raise AudioError(f"{name}: samples in memory need their sample_rate in Hz")
    samples = _from_array(source, name)  # (C, S)
    _check_format(sample_rate, samples.shape[0], channel, name)
    first = round((start or 0.0) * sample_rate)
    last = samples.shape[1] if duration is None else first + round(duration * sample_rate)
    _check_segment(first, last, samples.shape[1], sample_rate, name)
    samples = samples[:, first:last]
    yield from _resampled(iter([samples[channel] if channel is not None else samples.mean(axis=0)]), sample_rate)


def check_waveform(waveform: np.ndarray, name: str) -> np.ndarray:
    """Return a mono 16 kHz waveform (S,) as contiguous float32.

    Raises:
        AudioError: it has fewer than 400 samples or a value that is not finite.
    """
    if waveform.size < MIN_SAMPLES:
        raise AudioError(
            f"{name}: too short, {waveform.size} samples at {SAMPLE_RATE} Hz, expected at least {MIN_SAMPLES} (25 ms)"
        )
    if not np.isfinite(waveform).all():
        bad = int(np.count_nonzero(~np.isfinite(waveform)))
        raise AudioError(f"{name}: {bad} of {waveform.size} samples are NaN or infinite, expected finite samples")
    return np.ascontiguousarray(waveform, dtype=np.float32)


def normalize(waveform: np.ndarray) -> np.ndarray:
    """Shift and scale a whole utterance (S,) to zero mean and unit variance, as fairseq's `normalize: true` does."""
    centered = waveform.astype(np.float64) - waveform.mean(dtype=np.float64)
    return (centered / np.sqrt(np.mean(centered * centered) + NORMALIZE_EPS)).astype(np.float32)


def describe_source(source: AudioSource) -> str:
    """Name an audio source for messages: its path where it has one, else its type and size."""
    if isinstance(source, str | PathLike):
        return fspath(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes of audio>"
    if hasattr(source, "read"):
        return str(getattr(source, "name", "<audio stream>"))
    return f"<audio array of shape {tuple(source.shape)}>" if hasattr(source, "shape") else f"<{type(source).__name__}>"


def _check_format(rate: Any, channels: int, channel: int | None, name: str) -> None:
    if not isinstance(rate, numbers.Real) or not MIN_RATE <= float(rate) <= MAX_RATE:
        raise AudioError(f"{name}: sample rate is {rate!r}, expected {MIN_RATE} to {MAX_RATE} Hz")
    if channel is not None and not 0 <= channel < channels:
        raise AudioError(f"{name}: channel {channel} asked for, but it has channels 0 to {channels - 1}")


def _check_segment(first: int, last: int, frames: int, rate: float, name: str) -> None:
    """Check that the samples from `first` to before `last` exist, but for a little at the end."""
    if (first > 0 and first >= frames) or last > frames + DURATION_TOLERANCE * rate:
        raise AudioError(
            f"{name}: the segment ends at {last / rate:g} s, but the audio has {frames / rate:g} s"
            if last > first
            else f"{name}: the segment starts at {first / rate:g} s, but the audio has {frames / rate:g} s"
        )


def _mono_blocks(
    stream: AudioStream, channel: int | None, start: float | None, duration: float | None, name: str
) -> Iterator[np.ndarray]:
    """Read a stream, or the segment of it, as blocks (S,) of one channel or of their mean."""
    first = round((start or 0.0) * stream.rate)
    wanted = None if duration is None else round(duration * stream.rate)
    is_segment = start is not None or duration is not None
    if is_segment and stream.frames is not None:
        _check_segment(first, stream.frames if wanted is None else first + wanted, stream.frames, stream.rate, name)
    if first:
        stream.skip(first)
    block_frames = max(1, BLOCK_VALUES // stream.channels)
    count = 0
    while wanted is None or count < wanted:
        block = stream.read(block_frames if wanted is None else min(block_frames, wanted - count))  # (S, C)
        if not len(block):
            break
        count += len(block)
        yield block[:, channel] if channel is not None else block.mean(axis=1)
    if count == 0 and not is_segment:
        raise AudioError(f"{name}: holds no samples, expected at least {MIN_SAMPLES} at {SAMPLE_RATE} Hz")
    if wanted is not None and count < wanted - DURATION_TOLERANCE * stream.rate:
        _check_segment(first, first + wanted, first + count, stream.rate, name)


def _from_array(source: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """Bring samples in memory to (C, S) float32 in −1 … 1."""
    if hasattr(source, "detach"):
        source = source.detach().cpu()
        source = source.numpy() if not source.is_floating_point() else source.float().numpy()
    try:
        samples = np.asarray(source)
    except ValueError as error:
        raise AudioError(f"{name}: cannot be read as an array of samples: {error}") from error
    if samples.ndim == 1:
        samples = samples[None]  # (1, S)
    if samples.ndim != 2 or not 1 <= samples.shape[0] <= max(samples.shape[1], 1):
        raise AudioError(f"{name}: shape is {samples.shape}, expected (samples,) or (channels, samples)")
    if samples.dtype.kind == "i" and samples.dtype.itemsize <= 4:
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if samples.dtype.kind != "f":
        raise AudioError(f"{name}: samples are {samples.dtype}, expected floats, int8, int16 or int32")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as that
        return samples.astype(np.float32)


def _resampled(blocks: Iterator[np.ndarray], rate: float) -> Iterator[np.ndarray]:
    """Resample blocks (S,) from `rate` to 16 kHz with soxr's high quality; their joints leave no trace."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    import soxr

    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        resampled = resampler.resample_chunk(np.ascontiguousarray(block, np.float32))
        if resampled.size:
            yield resampled
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
