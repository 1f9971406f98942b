"""Audio in memory, in the forms that other libraries have it: what is one clip, and what is a batch of them.

S: samples. C: channels.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from emotion2vec.errors import AudioError

MOST_CHANNELS = 8
"""Channels that an array may have: more rows are taken for clips that were stacked."""


def one_rate(sample_rate: int | None, sampling_rate: int | None) -> int | None:
    """The rate under either of its names.

    Raises:
        AudioError: both are given and differ.
    """
    if None not in (sample_rate, sampling_rate) and sample_rate != sampling_rate:
        raise AudioError(f"sample_rate is {sample_rate} and sampling_rate {sampling_rate}, expected one of them")
    return sampling_rate if sample_rate is None else sample_rate


def as_batch(source: Any) -> list[Any] | None:
    """The clips of a list or tuple; None where the source is one clip.

    Raises:
        AudioError: its entries are no clips; the message says what to write.
    """
    if not isinstance(source, list | tuple):
        return None
    numbers_at = [place for place, item in enumerate(source) if isinstance(item, numbers.Number)]
    if len(source) == 2 and len(numbers_at) == 1:
        raise AudioError(
            "found a pair of samples and rate, expected samples and their rate as two arguments: f(x, 16000)"
        )
    if numbers_at:
        raise AudioError(
            f"found a list of {len(source)} numbers; a list is a batch of clips. For the samples of one clip write "
            "numpy.asarray(x)"
        )
    nested = next((place for place, item in enumerate(source) if isinstance(item, list | tuple)), None)
    if nested is not None:
        raise AudioError(
            f"clip {nested} of the list is a {type(source[nested]).__name__}, expected a path, bytes or an array: "
            "write numpy.asarray for each clip's samples"
        )
    return list(source)


def unpack(source: Any, sample_rate: int | None, name: str) -> tuple[Any, int | None]:
    """Take audio and rate out of a dictionary as Hugging Face's `datasets` has it; everything else stays as it is.

    Raises:
        AudioError: the dictionary lacks them, or its rate is not the one that is given.
    """
    if isinstance(source, list | tuple):
        as_batch(source)
        raise AudioError(f"{name}: found a list of {len(source)} clips, expected one clip")
    if not isinstance(source, Mapping):
        return source, sample_rate
    samples, rate = source.get("array"), source.get("sampling_rate")
    if samples is not None and rate is not None:
        return np.asarray(samples), one_rate(rate, sample_rate)
    encoded = source.get("bytes") or source.get("path")
    if encoded is None:
        raise AudioError(
            f"{name}: found a dictionary of {', '.join(map(str, source)) or 'nothing'}, expected 'array' and "
            "'sampling_rate', or 'bytes' or 'path'"
        )
    return encoded, sample_rate


def from_array(source: Any, name: str) -> np.ndarray:
    """Bring samples in memory to (C, S) float32 in −1 … 1.

    Raises:
        AudioError: they are no samples; the message says what to write.
    """
    if hasattr(source, "detach"):
        source = source.detach().cpu()
        source = source.numpy() if not source.is_floating_point() else source.float().numpy()
    try:
        samples = np.asarray(source)
    except ValueError as error:
        raise AudioError(f"{name}: cannot be read as an array of samples: {error}") from error
    if samples.dtype == object and samples.ndim:
        raise AudioError(f"{name}: an array of {len(samples)} objects, expected samples; a batch of clips is list(x)")
    if samples.ndim == 1:
        samples = samples[None]  # (1, S)
    _check_shape(samples.shape, name)
    if samples.dtype.kind == "i" and samples.dtype.itemsize <= 4:
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if samples.dtype.kind != "f":
        raise AudioError(f"{name}: samples are {samples.dtype}, expected floats, int8, int16 or int32")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as that
        return samples.astype(np.float32)


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    expected = f"expected (samples,) or (channels, samples) with at most {MOST_CHANNELS} channels"
    if len(shape) != 2:
        hint = ": a batch of clips is a list, list(x)" if len(shape) == 3 else ""
        raise AudioError(f"{name}: shape is {shape}, {expected}{hint}")
    rows, columns = shape
    if rows > columns and columns:
        raise AudioError(f"{name}: shape is {shape}, {expected}: transpose it, x.T")
    if rows > MOST_CHANNELS:
        raise AudioError(f"{name}: shape is {shape}, {expected}: a batch of clips is a list, list(x)")
    if rows == 0:
        raise AudioError(f"{name}: shape is {shape}, {expected}")
