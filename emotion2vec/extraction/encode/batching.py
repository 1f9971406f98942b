"""Batches of clips of about the same length, decoded and laid together behind the model's back."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.windows import Chunking
from emotion2vec.devices import is_host
from emotion2vec.extraction.encode.lanes import in_background
from emotion2vec.extraction.sources.decoding import (
    AnyWaveform,
    AudioFault,
    Hearing,
    LongWaveform,
    Undecoded,
    Waveform,
    decode,
)
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.processors import default_workers

Batch = list[Waveform] | LongWaveform | AudioFault
"""Clips that the model takes at once; or what passes by itself."""

POOL_BATCHES = 8
"""Decoded clips held to choose neighbours in length from, in batches."""

CPU_BATCH_SECONDS = 16.0
"""Default audio per batch on the CPU, in s."""

GPU_BATCH_SECONDS = 300.0
"""Default audio per batch on other devices, in s."""

BATCHES_AHEAD = 2
"""Batches that are ready while the model works."""


def ready_batches(
    sources: Iterable[Undecoded],
    model: SpeechEncoder,
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
        hearing=Hearing.of(model.config, chunking.samples),
    )
    return in_background(batches_for(model, clips, batch_seconds), BATCHES_AHEAD)


def batches_for(
    model: SpeechEncoder, clips: Iterable[AnyWaveform | AudioFault], batch_seconds: float | None
) -> Generator[Batch, None, None]:
    """Batch decoded clips as the model's device has it best; None for its default of `batch_seconds`."""
    on_cpu = is_host(model.device)
    seconds = batch_seconds or (CPU_BATCH_SECONDS if on_cpu else GPU_BATCH_SECONDS)
    return make_batches(clips, batch_seconds=seconds, padded=model.config.pads and not on_cpu)


def make_batches(
    clips: Iterable[AnyWaveform | AudioFault], *, batch_seconds: float, padded: bool
) -> Generator[Batch, None, None]:
    """Batch a stream of clips, holding only a small pool of them.

    Each time the pool is full, the oldest clip leaves it with those nearest to it in length.

    Args:
        clips: the stream; faults and long clips pass through at once.
        batch_seconds: most audio in a batch, padding included, in s; a longer clip is a batch of its own.
        padded: batch clips of different lengths, for devices where many at once pay for some padding; otherwise only
            clips of equal length share a batch.
    """
    limit = int(batch_seconds * SAMPLE_RATE)
    pool: list[Waveform] = []
    held = 0
    for clip in clips:
        if isinstance(clip, AudioFault | LongWaveform):
            yield clip
            continue
        pool.append(clip)
        held += clip.samples
        while held >= POOL_BATCHES * limit:
            batch = next(batch for batch in _cut(pool, limit, padded) if pool[0] in batch)
            leaving = {id(clip) for clip in batch}
            pool = [clip for clip in pool if id(clip) not in leaving]
            held -= sum(clip.samples for clip in batch)
            yield batch
    yield from _cut(pool, limit, padded)


def _cut(pool: list[Waveform], limit: int, padded: bool) -> Iterator[list[Waveform]]:
    """Cut a pool, longest clip first, into batches of at most `limit` samples."""
    batch: list[Waveform] = []
    for clip in sorted(pool, key=lambda clip: clip.samples, reverse=True):
        fits = batch and (len(batch) + 1) * batch[0].samples <= limit
        if batch and not (fits and (padded or clip.samples == batch[0].samples)):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch
