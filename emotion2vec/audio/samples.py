"""Audio in, 16 kHz mono float32 out: decoded, mixed, resampled, checked, normalized.

S: samples. C: channels of the audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from emotion2vec.audio.decode.memory import from_array, unpack
from emotion2vec.audio.decode.notes import Note
from emotion2vec.audio.decode.reading import Reading, tell
from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.errors import AudioError

if TYPE_CHECKING:
    import torch

    AudioSource = str | PathLike[str] | bytes | BinaryIO | np.ndarray | torch.Tensor | Mapping[str, Any]

NORMALIZE_EPS = 1e-5
"""Added to the variance in whole-utterance normalization (fairseq's layer norm over samples)."""


def load_audio(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    channel: int | None = None,
    start: float | None = None,
    duration: float | None = None,
    accept_damaged: bool = False,
    notes: list[Note] | None = None,
) -> np.ndarray:
    """Decode, mix to mono and resample to 16 kHz.

    Args:
        source: a path or URL, encoded bytes, an open binary file, or samples in memory: (S,) or (C, S) with at most 8
            channels, floats in −1 … 1 or int8, int16 or int32 of full scale; or a dictionary of one of these as
            Hugging Face's `datasets` has it.
        sample_rate: rate of samples in memory, in Hz; must be absent for encoded audio, which carries its own.
        channel: take this channel, counted from 0, in place of the mean of all. Where the channels cancel each other,
            the louder one is taken without being asked.
        start: begin here, in s.
        duration: length from there, in s; None for all until the end.
        accept_damaged: take what can be decoded of a damaged file.
        notes: gets what is to be said of the audio: `emotion2vec.audio.decode.notes` names the kinds. It is also
            logged, once per file.

    Returns:
        (S,) float32 at 16,000 Hz, not normalized.

    Raises:
        AudioError: the audio is missing, damaged, cannot be decoded, is shorter than 400 samples, or is not finite, or
            the segment is not inside it.
    """
    blocks = list(
        audio_blocks(
            source,
            sample_rate,
            channel=channel,
            start=start,
            duration=duration,
            accept_damaged=accept_damaged,
            notes=notes,
        )
    )
    waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros(0, np.float32)])  # (S,)
    return check_waveform(waveform, describe_source(source))


def audio_blocks(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    channel: int | None = None,
    start: float | None = None,
    duration: float | None = None,
    accept_damaged: bool = False,
    notes: list[Note] | None = None,
) -> Iterator[np.ndarray]:
    """Decode, mix and resample as `load_audio` does, block by block, so that memory does not grow with the audio.

    Together the blocks (S,) are bit for bit what `load_audio` returns; finiteness and length are not checked. Damage
    shows at the end: what came before it is then not to be used.

    Raises:
        AudioError: as `load_audio`.
    """
    name = describe_source(source)
    source, sample_rate = unpack(source, sample_rate, name)
    if isinstance(source, bytearray | memoryview):
        source = bytes(source)
    found: list[Note] = []
    reading = Reading(name, channel, start, duration, accept_damaged, found)
    if isinstance(source, str | PathLike | bytes) or hasattr(source, "read"):
        if sample_rate is not None:
            raise AudioError(f"{name}: encoded audio carries its own sample rate, so sample_rate must not be given")
        rate, blocks = reading.encoded(source)  # type: ignore[arg-type]
        yield from _resampled(blocks, rate)
    else:
        if sample_rate is None:
            raise AudioError(f"{name}: samples in memory need their sample_rate in Hz")
        yield from _resampled(reading.array(from_array(source, name), sample_rate), sample_rate)
    tell(name, found)
    if notes is not None:
        notes += found


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
        raise AudioError(f"{name}: {not_finite(int(np.count_nonzero(~np.isfinite(waveform))), waveform.size)}")
    return np.ascontiguousarray(waveform, dtype=np.float32)


def not_finite(bad: int, total: int) -> str:
    """What is said of audio some of whose samples are not finite."""
    return f"{bad} of {total} samples are NaN or infinite, expected finite samples"


def normalize(waveform: np.ndarray, eps: float = NORMALIZE_EPS) -> np.ndarray:
    """Shift and scale a whole utterance (S,) to zero mean and unit variance, as fairseq's `normalize: true` does."""
    centered = waveform.astype(np.float64) - waveform.mean(dtype=np.float64)
    return (centered / np.sqrt(np.mean(centered * centered) + eps)).astype(np.float32)


def describe_source(source: AudioSource) -> str:
    """Name an audio source for messages: its path where it has one, else its type and size."""
    if isinstance(source, str | PathLike):
        return fspath(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes of audio>"
    if hasattr(source, "read"):
        return str(getattr(source, "name", "<audio stream>"))
    return f"<audio array of shape {tuple(source.shape)}>" if hasattr(source, "shape") else f"<{type(source).__name__}>"


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
