"""Features of audio from anywhere, in memory: the library's one-line call.

S: samples. C: audio channels. T: frames. D: model width. L: layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.audio.decode.memory import as_batch, one_rate
from emotion2vec.audio.samples import audio_blocks, describe_source
from emotion2vec.audio.windows import Chunking
from emotion2vec.errors import AudioError
from emotion2vec.extraction.encode.arrays import Arrays, EncodedAudio, FeatureArray
from emotion2vec.extraction.encode.batching import Batch, ready_batches
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder, try_again
from emotion2vec.extraction.encode.lanes import in_lanes
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.options import BatchOptions, MemoryOptions, check_options
from emotion2vec.extraction.sources.decoding import AudioFault, Undecoded
from emotion2vec.model.features import Features
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.settings import from_keywords

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
    model: str | Path | SpeechEncoder = ...,
    **options: Any,
) -> list[Features]: ...


@overload
def extract_features(
    source: AudioSource,
    sample_rate: int | None = ...,
    *,
    sampling_rate: int | None = ...,
    model: str | Path | SpeechEncoder = ...,
    **options: Any,
) -> Features: ...


def extract_features(
    source: AudioSource | list[AnySource] | tuple[AnySource, ...],
    sample_rate: int | None = None,
    *,
    sampling_rate: int | None = None,
    model: str | Path | SpeechEncoder = DEFAULT_MODEL,
    **options: Any,
) -> Features | list[Features]:
    """Extract the features of one clip, or of a list of clips in batches.

    Args:
        source: a path, encoded bytes, an open binary file, samples (S,) or (C, S) of at most 8 channels, or a
            dictionary as Hugging Face's `datasets` has it; or a list or tuple of those.
        sample_rate: rate of samples in memory, in Hz, the same for a whole list; absent for encoded audio.
        sampling_rate: another name of it.
        model: a model, or what `load_model` takes; by default the one that ships with the package. The one
            that was loaded last stays in memory, and is taken again as long as its files are what they were.
        options: see `MemoryOptions`: `layers`, `accept_damaged`, `precision`, `backend`, `device` (None for where a
            given model is), `batch_seconds`, `workers`. Features are float32, whatever they are computed in.

    Returns:
        The features, or for a list a list of them in its order.

    Raises:
        AudioError: audio cannot be decoded or used; for a list, all such clips are named at once.
        ConfigError: an argument is wrong.
        CheckpointError: the model cannot be loaded.
    """
    chosen: MemoryOptions = from_keywords(MemoryOptions, options)
    choice, batching = FeatureChoice(layers="all" if chosen.layers else "last"), chosen.batching
    check_options(batching.faults() + batching.backend_faults(choice))
    rate, batch = one_rate(sample_rate, sampling_rate), as_batch(source)
    items: list[AudioSource] = [source] if batch is None else batch  # type: ignore[list-item]
    names = [describe_source(items[0])] if batch is None else [f"source {index}" for index in range(len(items))]
    audio = [
        Undecoded(index, name, partial(audio_blocks, _rereadable(item), rate, accept_damaged=chosen.accept_damaged))
        for index, (name, item) in enumerate(zip(names, items, strict=True))
    ]
    workload = Workload.of(choice, [None] * len(audio))
    ready_for = ready_model(model, batching.device, batching.precision, backend=batching.backend, workload=workload)
    with ready_for as ready:
        encoder = Encoder(ready.model, choice, precision=ready.precision, chunking=Chunking(), graph=ready.graph)
        features = _extract_all(audio, encoder, batching)
    return features[0] if batch is None else features


def _extract_all(audio: list[Undecoded], encoder: Encoder, options: BatchOptions) -> list[Features]:
    """Features in the order of the list; after a fault only further faults are looked for."""
    features: dict[int, Features] = {}
    faults: list[AudioFault] = []

    def encode(batch: Batch) -> Iterable[EncodedAudio | AudioFault]:
        if faults and not isinstance(batch, AudioFault):
            return []
        return encoder.encode_batch(batch, _held)

    batches = ready_batches(
        audio,
        encoder.model,
        chunking=encoder.chunking,
        batch_seconds=options.batch_seconds,
        workers=options.workers,
    )
    with closing(batches), closing(in_lanes(batches, encode, encoder.lanes(len(audio)), try_again)) as results:
        for result in results:
            if isinstance(result, AudioFault):
                faults.append(result)
            else:
                features[result.index] = _as_features(result.features["frames"].whole())
    if faults:
        raise _audio_error(sorted(faults, key=lambda fault: fault.index), len(audio))
    return [features[index] for index in range(len(audio))]


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


def _audio_error(faults: list[AudioFault], total: int) -> AudioError:
    if total == 1:
        return AudioError(str(faults[0]))
    lines = [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"  and {len(faults) - SHOWN_FAULTS} more")
    return AudioError(f"{len(faults)} of {total} sources cannot be used:\n" + "\n".join(lines))
