"""Decoding and batching behind the model's back: sources of audio in, batches that are ready out."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from emotion2vec.audio.frames import receptive_field
from emotion2vec.audio.windows import Chunking
from emotion2vec.devices import is_host
from emotion2vec.extraction.encode.background import in_background
from emotion2vec.extraction.encode.batching import Batch, make_batches
from emotion2vec.extraction.sources.decoding import AnyWaveform, AudioFault, Undecoded, decode, default_workers
from emotion2vec.model.encoder import Emotion2vec

CPU_BATCH_SECONDS = 16.0
"""Default audio per batch on the CPU, in s."""

GPU_BATCH_SECONDS = 300.0
"""Default audio per batch on other devices, in s."""

BATCHES_AHEAD = 2
"""Batches that are ready while the model works."""


def ready_batches(
    sources: Iterable[Undecoded],
    model: Emotion2vec,
    *,
    chunking: Chunking,
    batch_seconds: float | None,
    workers: int | None,
) -> Generator[Batch, None, None]:
    """Decode and batch in background threads, ahead of the model.

    On the CPU only clips of equal length share a batch: padding one clip to the length of another does not pay there.

    Args:
        sources: what to decode.
        model: tells the device and the shortest usable clip.
        chunking: tells which audio is long.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        workers: threads that decode; None for one per processor, at most 8.
    """
    clips = decode(
        sources,
        workers=workers or default_workers(),
        min_samples=receptive_field(model.config.kernels, model.config.strides),
        max_samples=chunking.samples,
    )
    return in_background(batches_for(model, clips, batch_seconds), BATCHES_AHEAD)


def batches_for(
    model: Emotion2vec, clips: Iterable[AnyWaveform | AudioFault], batch_seconds: float | None
) -> Generator[Batch, None, None]:
    """Batch decoded clips as the model's device has it best; None for its default of `batch_seconds`."""
    on_cpu = is_host(model.device)
    seconds = batch_seconds or (CPU_BATCH_SECONDS if on_cpu else GPU_BATCH_SECONDS)
    return make_batches(clips, batch_seconds=seconds, padded=not on_cpu)
