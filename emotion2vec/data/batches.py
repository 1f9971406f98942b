"""Pretraining micro-batches: decoded, normalized, cropped to the shortest, resumable at any position."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.corpora.faults import Fault
from emotion2vec.data.augment import Augmenter
from emotion2vec.data.decoder import BatchDecoder, Cropping, MicroBatch
from emotion2vec.data.order import BatchOrder, Packing, Position
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.data.workers import outlive_signals, signals_held
from emotion2vec.errors import ConfigError, ManifestError, StorageError

if TYPE_CHECKING:
    from lhotse import CutSet

__all__ = ["MicroBatch", "Position", "batches"]

LOG = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until lost storage is looked for again, at first and at most; each pause is twice the one before."""


def batches(
    sources: CutSet | Sequence[Source],
    *,
    max_seconds: float,
    max_samples: int,
    buckets: int,
    seed: int,
    accumulate: int,
    min_samples: int = 0,
    length_step: int = 1,
    window: int = 100_000,
    augmenter: Augmenter | None = None,
    start: Position | None = None,
    workers: int = 0,
    cache: bool = False,
    patience: float = 0.0,
    stopping: Callable[[], bool] = lambda: False,
    rank: int = 0,
    world_size: int = 1,
) -> Generator[MicroBatch, None, None]:
    """Iterate over micro-batches without end; what comes after a position never depends on how it was reached.

    Order, crops and augmentation are pure functions of `seed` and position: neither the number of workers nor any
    random state matters. Memory does not grow with the corpus, except for lists. Close the iterator (or let it go) to
    stop its workers.

    Args:
        sources: those of `open_corpus`, or the cuts of one list.
        max_seconds: bound on utterances × length of a micro-batch, in s.
        max_samples: longer utterances are cropped at random to this length, in samples.
        buckets: utterances of similar length go together: so many buckets lie between a length and a third more.
        seed: seed of order and crops.
        accumulate: micro-batches of one optimizer update; crops are keyed by the update.
        min_samples: shorter utterances are left out.
        length_step: micro-batches are cropped to a multiple of this, in samples; kernels that are built per shape are
            then built for a few shapes only.
        window: utterances that are shuffled together, about; their shards are read at the same time.
        augmenter: distorts utterances before they are normalized and cropped.
        start: position to resume from, of a micro-batch of this rank.
        workers: processes that decode; 0 decodes in this one.
        cache: keep decoded utterances in memory (64 kB per second of audio); only without workers.
        patience: seconds to wait for storage that is out of reach, looking for it again with growing pauses.
        stopping: asked while waiting; True ends it.
        rank: this process among `world_size`, which take turns in one common order.
        world_size: number of processes; all of them see equally many micro-batches per window.

    Raises:
        ConfigError: arguments are out of range or contradict each other.
        ManifestError: there is no utterance, or (while iterating) a whole epoch without a usable one.
        StorageError: (while iterating) the storage stayed out of reach.
    """
    from lhotse import CutSet

    faults = _argument_faults(max_seconds, max_samples, buckets, accumulate, window, workers, cache, rank, world_size)
    if faults:
        raise ConfigError("; ".join(faults))
    opened: Sequence[Source] = [CutSource(sources)] if isinstance(sources, CutSet) else sources
    if not sum(int(source.counts.sum()) for source in opened):
        raise ManifestError("no utterance to make batches of, expected at least one")
    budget = int(max_seconds * SAMPLE_RATE)
    packing = Packing(budget=budget, min_samples=min_samples, max_samples=max_samples, buckets=buckets, window=window)
    cropping = Cropping(budget=budget, max_samples=max_samples, length_step=length_step)
    decoder = BatchDecoder(opened, cropping, seed=seed, accumulate=accumulate, augmenter=augmenter, cache=cache)

    def open_at(position: Position) -> Generator[MicroBatch, None, None]:
        order = BatchOrder(opened, packing, seed=seed, start=position, rank=rank, world_size=world_size)
        loader = DataLoader(
            decoder,
            sampler=order,  # type: ignore[arg-type]  # torch accepts any iterable
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=outlive_signals,
            generator=torch.Generator(),  # else the loader would draw from the global one
        )
        return _usable(loader, position)

    return _patient(open_at, start or Position(), patience, stopping)


def _argument_faults(
    max_seconds: float,
    max_samples: int,
    buckets: int,
    accumulate: int,
    window: int,
    workers: int,
    cache: bool,
    rank: int,
    world_size: int,
) -> list[str]:
    """All that is wrong with the arguments of `batches`."""
    checks = [
        (max_samples >= 1, f"max_samples is {max_samples}, expected 1 or more"),
        (
            max_samples <= max_seconds * SAMPLE_RATE,
            f"max_seconds is {max_seconds:g}, expected at least one utterance of max_samples "
            f"({max_samples / SAMPLE_RATE:g} s)",
        ),
        (buckets >= 1, f"buckets is {buckets}, expected 1 or more"),
        (accumulate >= 1, f"accumulate is {accumulate}, expected 1 or more"),
        (window >= 1, f"window is {window}, expected 1 or more"),
        (workers >= 0, f"workers is {workers}, expected 0 or more"),
        (not (cache and workers), f"cache is on with {workers} workers, expected workers = 0: each would keep a copy"),
        (0 <= rank < world_size, f"rank is {rank}, expected 0 to {world_size - 1}"),
    ]
    return [fault for holds, fault in checks if not holds]


def _patient(
    open_at: Callable[[Position], Generator[MicroBatch, None, None]],
    start: Position,
    patience: float,
    stopping: Callable[[], bool],
) -> Generator[MicroBatch, None, None]:
    """Pass on micro-batches; when the storage is lost, open the stream again where it was, until patience ends.

    The waiting is done here and not in the workers, so that the main process can still be asked to stop.

    Raises:
        StorageError: the storage did not come back in time.
    """
    position, lost, pause = start, None, FIRST_PAUSE
    while True:
        stream = open_at(position)
        try:
            for batch in stream:
                position, lost, pause = batch.position, None, FIRST_PAUSE
                yield batch
        except StorageError as error:
            lost = lost or time.monotonic()
            waited = time.monotonic() - lost
            if waited >= patience or stopping():
                raise StorageError(f"{error}; the data stayed out of reach for {waited:.0f} s") from error
            LOG.warning("%s; the data is out of reach, looking again in %.0f s", error, pause)
            _sleep(min(pause, patience - waited), stopping)
            pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            stream.close()


def _sleep(seconds: float, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopping():
        time.sleep(max(0.0, min(0.2, until - time.monotonic())))


def _usable(loader: DataLoader[MicroBatch | StorageError], start: Position) -> Generator[MicroBatch, None, None]:
    """Pass on micro-batches that hold audio; faults of the others go to the next one.

    Raises:
        ManifestError: a whole epoch held nothing usable.
        StorageError: the storage is out of reach.
    """
    carried: list[Fault] = []
    epoch, tried = start.epoch, False
    usable = start.batch > 0 or start.window > 0  # of an epoch resumed inside, the start is not known to be bad
    with signals_held():
        requests: Iterator[MicroBatch | StorageError] = iter(loader)  # starts the workers
    try:
        for batch in requests:
            if isinstance(batch, StorageError):
                raise batch
            if batch.position.epoch != epoch:
                if tried and not usable:
                    break
                epoch, usable = batch.position.epoch, False
            tried = True
            if not batch.ids:
                carried += batch.skipped
                continue
            usable = True
            batch.skipped = carried + batch.skipped
            carried = []
            yield batch
    finally:
        del requests  # the last reference: stops the workers
    first = "; ".join(str(fault) for fault in carried[:3])
    raise ManifestError(f"epoch {epoch} held no usable utterance, {len(carried)} could not be decoded: {first}")


def _unchanged(batch: Any) -> Any:
    return batch
