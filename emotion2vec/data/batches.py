"""Pretraining micro-batches: decoded, normalized, cropped to the shortest, resumable at any position.

B: utterances in a micro-batch. S: samples at 16 kHz.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from emotion2vec.audio import SAMPLE_RATE, normalize
from emotion2vec.data.cuts import load_cut
from emotion2vec.data.manifests import Fault
from emotion2vec.data.order import BatchOrder, CroppedSamples, Position, Request
from emotion2vec.errors import AudioError, ConfigError, ManifestError
from emotion2vec.seeding import keyed_seed

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

__all__ = ["MicroBatch", "Position", "batches"]


@dataclass
class MicroBatch:
    """What one forward pass sees.

    Attributes:
        waveforms: (B, S) float32, each utterance normalized as a whole before it was cropped.
        ids: ids of the B utterances.
        position: where to resume once this micro-batch is consumed.
        skipped: utterances that should have been here but could not be decoded or are not finite, and those of
            micro-batches before it of which nothing was left.
    """

    waveforms: torch.Tensor
    ids: list[str]
    position: Position
    skipped: list[Fault] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Audio in the micro-batch, in s."""
        return self.waveforms.numel() / SAMPLE_RATE


def batches(
    cuts: CutSet,
    *,
    max_seconds: float,
    max_samples: int,
    buckets: int,
    seed: int,
    accumulate: int,
    length_step: int = 1,
    start: Position | None = None,
    workers: int = 0,
    cache: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Generator[MicroBatch, None, None]:
    """Iterate over micro-batches without end; what comes after a position never depends on how it was reached.

    Order and crops are pure functions of `seed` and position: neither the number of workers nor any random state
    matters. Close the iterator (or let it go) to stop its workers.

    Args:
        cuts: utterances of `load_cuts`.
        max_seconds: bound on utterances × length of a micro-batch, in s.
        max_samples: longer utterances are cropped at random to this length, in samples.
        buckets: utterances of similar length go together, in this many groups of about the same total length.
        seed: seed of order and crops.
        accumulate: micro-batches of one optimizer update; crops are keyed by the update.
        length_step: micro-batches are cropped to a multiple of this, in samples; kernels that are built per shape are
            then built for a few shapes only.
        start: position to resume from, of a micro-batch of this rank.
        workers: processes that decode; 0 decodes in this one.
        cache: keep decoded utterances in memory (64 kB per second of audio); only without workers.
        rank: this process among `world_size`, which take turns in one common order.
        world_size: number of processes; all of them see equally many micro-batches per epoch.

    Raises:
        ConfigError: arguments are out of range or contradict each other.
        ManifestError: there are no cuts, or (while iterating) a whole epoch without one usable utterance.
    """
    faults = _argument_faults(max_seconds, max_samples, buckets, accumulate, workers, cache, rank, world_size)
    if faults:
        raise ConfigError("; ".join(faults))
    listed = list(cuts)
    if not listed:
        raise ManifestError("no utterance to make batches of, expected at least one")
    budget = int(max_seconds * SAMPLE_RATE)
    order = BatchOrder(
        listed,
        CroppedSamples(budget, max_samples),
        buckets=buckets,
        seed=seed,
        start=start or Position(),
        rank=rank,
        world_size=world_size,
    )
    decoder = BatchDecoder(budget, max_samples, seed=seed, accumulate=accumulate, length_step=length_step, cache=cache)
    loader = DataLoader(
        decoder,
        sampler=order,  # type: ignore[arg-type]  # torch accepts any iterable
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # else the loader would draw from the global one
    )
    return _usable(loader, order.start)


def _argument_faults(
    max_seconds: float,
    max_samples: int,
    buckets: int,
    accumulate: int,
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
        (workers >= 0, f"workers is {workers}, expected 0 or more"),
        (not (cache and workers), f"cache is on with {workers} workers, expected workers = 0: each would keep a copy"),
        (0 <= rank < world_size, f"rank is {rank}, expected 0 to {world_size - 1}"),
    ]
    return [fault for holds, fault in checks if not holds]


def _usable(loader: DataLoader[MicroBatch], start: Position) -> Generator[MicroBatch, None, None]:
    """Pass on micro-batches that hold audio; faults of the others go to the next one.

    Raises:
        ManifestError: a whole epoch held nothing usable.
    """
    carried: list[Fault] = []
    epoch, usable = start.epoch, start.batch > 0  # of an epoch resumed inside, the start is not known to be bad
    with _interrupts_blocked():
        requests: Iterator[MicroBatch] = iter(loader)  # starts the workers
    try:
        for batch in requests:
            if batch.position.epoch != epoch:
                if not usable:
                    break
                epoch, usable = batch.position.epoch, False
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


class BatchDecoder(Dataset[MicroBatch]):
    """Turns a request into a micro-batch; runs in the workers."""

    def __init__(
        self, budget: int, max_samples: int, *, seed: int, accumulate: int, length_step: int, cache: bool
    ) -> None:
        self.budget = budget
        self.max_samples = max_samples
        self.seed = seed
        self.accumulate = accumulate
        self.length_step = length_step
        self.cache: dict[str, np.ndarray] | None = {} if cache else None

    def __getitem__(self, request: Request) -> MicroBatch:
        """Decode, normalize and crop; what cannot be decoded is named in `skipped`."""
        update = request.index // self.accumulate
        crops: list[tuple[str, np.ndarray, np.random.Generator]] = []
        skipped: list[Fault] = []
        for cut in request.cuts:
            try:
                waveform = self._normalized(cut)  # (S,)
            except AudioError as error:
                skipped.append(Fault(cut.id, str(error)))
                continue
            rng = np.random.default_rng(keyed_seed(self.seed, "crop", update, cut.id))
            crops.append((cut.id, random_crop(waveform, self.max_samples, rng), rng))
        if not crops:
            return MicroBatch(torch.empty(0, 0), [], request.position, skipped)
        # Headers can understate lengths, and ranks share out an epoch's rest unevenly: the budget holds regardless.
        length = min(self.budget // len(crops), *(crop.size for _, crop, _ in crops))
        length = max(length - length % self.length_step, min(length, self.length_step))
        rows = [random_crop(crop, length, rng) for _, crop, rng in crops]
        waveforms = torch.from_numpy(np.stack(rows))  # (B, S)
        return MicroBatch(waveforms, [name for name, _, _ in crops], request.position, skipped)

    def _normalized(self, cut: Cut) -> np.ndarray:
        """The whole utterance, normalized (S,); kept in memory if asked for."""
        if self.cache is None:
            return normalize(load_cut(cut))
        if cut.id not in self.cache:
            self.cache[cut.id] = normalize(load_cut(cut))
        return self.cache[cut.id]


def random_crop(waveform: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Stretch of `length` samples (S,) at a uniformly drawn place; all of a waveform that is no longer than that."""
    if waveform.size <= length:
        return waveform
    first = int(rng.integers(waveform.size - length + 1))
    return waveform[first : first + length]


def _unchanged(batch: Any) -> Any:
    return batch


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold SIGINT back: workers inherit this, so that none is hit by Ctrl-C before it ignores it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the main process, which stops the workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
