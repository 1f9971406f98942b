"""Features of audio from anywhere, in memory: the library's one-line call.

S: samples. C: audio channels. T: frames. D: model width. L: layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np

from emotion2vec.audio.decode.memory import as_batch, one_rate
from emotion2vec.audio.samples import audio_blocks, describe_source
from emotion2vec.audio.windows import Chunking
from emotion2vec.corpora.faults import Fault
from emotion2vec.errors import AudioError
from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray
from emotion2vec.extraction.encode.batching import Batch
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import EncodedAudio, Encoder
from emotion2vec.extraction.encode.lanes import in_lanes
from emotion2vec.extraction.encode.pipeline import ready_batches
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.extraction.options import Workload, backend_faults, check_options, option_faults
from emotion2vec.extraction.sources.decoding import LongWaveform, Undecoded
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.features import Features

if TYPE_CHECKING:
    from emotion2vec.audio.samples import AudioSource

AnySource = TypeVar("AnySource", bound="AudioSource")

SHOWN_FAULTS = 20
"""Most faults that one error lists."""


@overload
def extract_features(
    source: list[AnySource] | tuple[AnySource, ...],
    sample_rate: int | None = ...,
    *,
    sampling_rate: int | None = ...,
    model: str | Path | Emotion2vec = ...,
    layers: bool = ...,
    precision: str = ...,
    backend: str = ...,
    device: str | None = ...,
    batch_seconds: float | None = ...,
    workers: int | None = ...,
    accept_damaged: bool = ...,
) -> list[Features]: ...


@overload
def extract_features(
    source: AudioSource,
    sample_rate: int | None = ...,
    *,
    sampling_rate: int | None = ...,
    model: str | Path | Emotion2vec = ...,
    layers: bool = ...,
    precision: str = ...,
    backend: str = ...,
    device: str | None = ...,
    batch_seconds: float | None = ...,
    workers: int | None = ...,
    accept_damaged: bool = ...,
) -> Features: ...


def extract_features(
    source: AudioSource | list[AnySource] | tuple[AnySource, ...],
    sample_rate: int | None = None,
    *,
    sampling_rate: int | None = None,
    model: str | Path | Emotion2vec = "tiny",
    layers: bool = False,
    precision: str = "fp32",
    backend: str = "auto",
    device: str | None = None,
    batch_seconds: float | None = None,
    workers: int | None = None,
    accept_damaged: bool = False,
) -> Features | list[Features]:
    """Extract the features of one clip, or of a list of clips in batches.

    Args:
        source: a path, encoded bytes, an open binary file, samples (S,) or (C, S) of at most 8 channels, or a
            dictionary as Hugging Face's `datasets` has it; or a list or tuple of those.
        sample_rate: rate of samples in memory, in Hz, the same for a whole list; absent for encoded audio.
        sampling_rate: another name of it.
        model: a model, or what `load_model` takes. Load it once and pass it when calling often.
        layers: keep the outputs of all blocks, (L, T, D).
        precision: `fp32`, `bf16`, `fp16` or, on a CPU, `int8` to compute in, or `auto`; features are float32.
        backend: `torch`, `onnx` for onnxruntime on a CPU, or `auto` for the faster one.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`; None means `auto`, or where a given model is.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        workers: threads that decode; None for one per processor, at most 8.
        accept_damaged: take what can be decoded of damaged files, and warn of each.

    Returns:
        The features, or for a list a list of them in its order.

    Raises:
        AudioError: audio cannot be decoded or used; for a list, all such clips are named at once.
        ConfigError: an argument is wrong.
        CheckpointError: the model cannot be loaded.
    """
    choice = FeatureChoice(layers="all" if layers else "last")
    faults = option_faults(precision=precision, batch_seconds=batch_seconds, workers=workers)
    check_options(faults + backend_faults(backend, precision, choice))
    rate, batch = one_rate(sample_rate, sampling_rate), as_batch(source)
    items: list[AudioSource] = [source] if batch is None else batch  # type: ignore[list-item]
    names = [describe_source(items[0])] if batch is None else [f"source {index}" for index in range(len(items))]
    sources = [
        Undecoded(index, name, partial(audio_blocks, _rereadable(item), rate, accept_damaged=accept_damaged))
        for index, (name, item) in enumerate(zip(names, items, strict=True))
    ]
    workload = Workload.of(choice, [None] * len(sources))
    with ready_model(model, device, precision, backend=backend, workload=workload) as ready:
        encoder = Encoder(ready.model, choice, precision=ready.precision, chunking=Chunking(), graph=ready.graph)
        features = _extract_all(sources, encoder, batch_seconds, workers)
    return features[0] if batch is None else features


def _extract_all(
    sources: list[Undecoded], encoder: Encoder, batch_seconds: float | None, workers: int | None
) -> list[Features]:
    """Features in the order of the sources; after a fault only further faults are looked for."""
    features: dict[int, Features] = {}
    faults: list[Fault] = []

    def encode(batch: Batch) -> Iterable[EncodedAudio | Fault]:
        if isinstance(batch, Fault):
            return [batch]
        if faults:
            return []
        return (
            [encoder.encode_long_safely(batch, _held)]
            if isinstance(batch, LongWaveform)
            else encoder.encode_safely(batch)
        )

    batches = ready_batches(
        sources, encoder.model, chunking=encoder.chunking, batch_seconds=batch_seconds, workers=workers
    )
    with closing(batches), closing(in_lanes(batches, encode, encoder.lanes(len(sources)))) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Fault):
                faults.append(outcome)
            else:
                features[outcome.clip.index] = _as_features(outcome.features["frames"].whole())
    if faults:
        raise _audio_error(faults, len(sources))
    return [features[index] for index in range(len(sources))]


def _held(arrays: Arrays) -> Arrays:
    """Hold the features of long audio in memory."""
    frames = arrays["frames"].whole()
    if not np.isfinite(frames).all():
        raise FloatingPointError("not finite")
    return {"frames": FeatureArray.of(frames)}


def _rereadable(source: AudioSource) -> AudioSource:
    """A source that can be read twice: what cannot be rewound is read into memory."""
    if hasattr(source, "read") and not source.seekable():  # type: ignore[union-attr]
        return source.read()  # type: ignore[union-attr]
    return source


def _as_features(array: np.ndarray) -> Features:
    """Wrap (T, D) or, with all layers, (L, T, D), whose last layer is the frames."""
    return Features(frames=array) if array.ndim == 2 else Features(frames=array[-1], layers=array)


def _audio_error(faults: list[Fault], total: int) -> AudioError:
    if total == 1:
        return AudioError(str(faults[0]))
    lines = [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"  and {len(faults) - SHOWN_FAULTS} more")
    return AudioError(f"{len(faults)} of {total} sources cannot be used:\n" + "\n".join(lines))
