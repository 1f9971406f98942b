"""Batches of clips of about the same length, from a stream of clips in any order."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.extraction.sources.decoding import AnyWaveform, AudioFault, LongWaveform, Waveform

Batch = list[Waveform] | LongWaveform | AudioFault
"""Clips that the model takes at once; or what passes by itself."""

POOL_BATCHES = 8
"""Decoded clips held to choose neighbours in length from, in batches."""


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
