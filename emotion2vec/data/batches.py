"""Pretraining micro-batches: decoded, normalized, cropped to the shortest, resumable at any position."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from emotion2vec.corpora.faults import Fault
from emotion2vec.data.augment import Augmenter
from emotion2vec.data.config import SpeechConfig
from emotion2vec.data.micro_batch import BatchDecoder, MicroBatch
from emotion2vec.data.order import BatchOrder, Position, Request, Stream
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.data.workers import outlive_signals, signals_held
from emotion2vec.errors import ConfigError, ManifestError, StorageError

if TYPE_CHECKING:
    from lhotse import CutSet

LOG = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until lost storage is looked for again, at first and at most; each pause is twice the one before."""


Order = Callable[[Sequence[Source], Any, Stream, Position], Iterable[Request]]
"""Plans the micro-batches of a process from a position on, without end; a pure function of its arguments."""


def batches(
    sources: CutSet | Sequence[Source],
    data: SpeechConfig,
    stream: Stream,
    *,
    augmenter: Augmenter | None = None,
    start: Position | None = None,
    stopping: Callable[[], bool] = lambda: False,
    order: Order = BatchOrder,
) -> Generator[MicroBatch, None, None]:
    """Iterate over micro-batches without end; what comes after a position never depends on how it was reached.

    Order, crops and augmentation are pure functions of seed and position: neither the number of workers nor any random
    state matters. Memory does not grow with the corpus, except for lists. Close the iterator (or let it go) to stop its
    workers.

    Args:
        sources: those of `open_corpus`, or the cuts of one list.
        data: how they are batched; what it says of sources is not read.
        stream: which of the micro-batches are wanted.
        augmenter: distorts utterances before they are normalized and cropped.
        start: position to resume from, of a micro-batch of this rank.
        stopping: asked while storage that is out of reach is waited for; True ends that.
        order: plans them.

    Raises:
        ConfigError: arguments are out of range or contradict each other.
        ManifestError: there is no utterance, or (while iterating) a whole epoch without a usable one.
        StorageError: (while iterating) the storage stayed out of reach.
    """
    from lhotse import CutSet

    if faults := [*stream.faults(), *data.faults()]:
        raise ConfigError("; ".join(faults))
    opened: Sequence[Source] = [CutSource(sources)] if isinstance(sources, CutSet) else sources
    if not sum(int(source.counts.sum()) for source in opened):
        raise ManifestError("no utterance to make batches of, expected at least one")
    decoder = BatchDecoder(opened, data, stream, augmenter)

    def open_at(position: Position) -> Generator[MicroBatch, None, None]:
        loader = DataLoader(
            decoder,
            sampler=order(opened, data, stream, position),  # type: ignore[arg-type]  # torch takes any iterable
            batch_size=None,
            num_workers=data.workers,
            collate_fn=_unchanged,
            worker_init_fn=outlive_signals,
            generator=torch.Generator(),  # else the loader would draw from the global one
        )
        return _usable(loader, position)

    return _patient(open_at, start or Position(), data.patience, stopping)


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
