"""Where a job runs: on this machine, or wherever `executor_for` is told; and what every job does with decoded audio."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from emotion2vec.errors import ManifestError
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.batching import Batch, ready_batches
from emotion2vec.extraction.encode.encoder import Encoder, try_again
from emotion2vec.extraction.encode.graphs import GraphNetwork
from emotion2vec.extraction.encode.lanes import Later, in_lanes
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.extraction.encode.spool import Spool
from emotion2vec.extraction.encode.turns import in_turn
from emotion2vec.extraction.options import BatchOptions, ExecutorOptions, Workload
from emotion2vec.extraction.run import ExtractionReport, Outcome
from emotion2vec.extraction.sources.decoding import AudioFault, Undecoded
from emotion2vec.extraction.sources.named import Item
from emotion2vec.extraction.writers.outputs import Outputs
from emotion2vec.model.encoder import Emotion2vec

WRITES_BEHIND = 32
"""Items whose features may wait to be written while the model goes on."""


class Sink(Protocol):
    """Takes features: files, or what makes something else of them."""

    @property
    def in_order(self) -> bool:
        """Whether items must come in the order of the job's list."""

    def write(self, item: Item, encoded: EncodedAudio) -> None:
        """Take the features of one item.

        Raises:
            ManifestError: the item cannot be named there.
            OSError: this item cannot be written.
            ConfigError: nothing more can be written.
            BrokenPipeError: whoever reads the output has gone.
        """


class Executor(Protocol):
    """Carries a job out."""

    @property
    def model(self) -> Emotion2vec:
        """Tells the dimensions and the weights; it computes on this machine only if the job runs here."""

    @property
    def precision(self) -> str:
        """What is computed in."""

    @property
    def graph(self) -> GraphNetwork | None:
        """What computes in place of the model; None for the model itself."""

    def outcomes(
        self, todo: Sequence[Item], encoder: Encoder, outputs: Outputs, folder: Path
    ) -> Generator[Outcome, None, None]:
        """Decode, encode and write every item; each gives one outcome, in any order. See `encode_and_write`."""


@dataclass(frozen=True)
class LocalExecutor:
    """Threads that decode, the model, and a thread that writes."""

    model: Emotion2vec
    precision: str
    graph: GraphNetwork | None
    batch_seconds: float | None = None
    workers: int | None = None

    def outcomes(
        self, todo: Sequence[Item], encoder: Encoder, outputs: Sink, folder: Path | None
    ) -> Generator[Outcome, None, None]:
        """See `Executor`; any sink will do."""
        audio = (Undecoded(index, item.where, item.blocks) for index, item in enumerate(todo))
        batches = ready_batches(
            audio,
            self.model,
            chunking=encoder.chunking,
            batch_seconds=self.batch_seconds,
            workers=self.workers,
        )
        with closing(batches):
            yield from encode_and_write(batches, dict(enumerate(todo)), encoder, outputs, folder)


@contextmanager
def local_executor(
    model: str | Path | Emotion2vec, options: BatchOptions, workload: Workload
) -> Iterator[LocalExecutor]:
    """Load or borrow a model for a job on this machine; see `ready_model`."""
    with ready_model(model, options.device, options.precision, backend=options.backend, workload=workload) as ready:
        yield LocalExecutor(*ready, options.batch_seconds, options.workers)


def executor_for(
    model: str | Path | Emotion2vec, options: ExecutorOptions, workload: Workload
) -> AbstractContextManager[Executor]:
    """The executor that the options name.

    Raises:
        ConfigError: there is no such device, the graph of a backend cannot be kept, or the cluster or its package is
            missing.
        CheckpointError: the model cannot be loaded.
    """
    if options.engine == "local":
        return local_executor(model, options, workload)
    from emotion2vec.extraction.ray.executor import ray_executor

    return ray_executor(model, options)


def report_of(executor: Executor) -> ExtractionReport:
    """An empty report of what an executor is going to do."""
    return ExtractionReport(precision=executor.precision, backend="torch" if executor.graph is None else "onnx")


def encode_and_write(
    batches: Iterable[Batch], items: Mapping[int, Item], encoder: Encoder, sink: Sink, folder: Path | None
) -> Generator[Outcome, None, None]:
    """Encode the batches, on a CPU side by side, and write the features of each while the next is encoded.

    Args:
        batches: decoded audio; the index of each is that of its item.
        items: what it was decoded from, by index, in the order of the job's list.
        encoder: computes features.
        sink: takes them, where it asks for that in the order of the items.
        folder: where features lie that are not complete or whose turn has not come; None for the system's place.

    Raises:
        ConfigError: nothing more can be written.
    """
    finished: list[Outcome] = []
    spool = Spool(folder)
    encode, lanes = partial(encoder.encode_batch, keep=spool.keep), encoder.lanes(len(items))
    with closing(Later(WRITES_BEHIND)) as later, closing(in_lanes(batches, encode, lanes, try_again)) as stream:
        for encoded in in_turn(stream, items, spool) if sink.in_order else stream:
            if isinstance(encoded, AudioFault):
                yield Outcome(encoded.index, reason=encoded.reason)
            else:
                later.call(partial(write_item, sink, items[encoded.index], encoded), finished.append)
            yield from _drain(finished)
        later.settle()
        yield from _drain(finished)


def write_item(sink: Sink, item: Item, encoded: EncodedAudio) -> Outcome:
    """Write one item's features, or say why they cannot be written.

    Raises:
        ConfigError: nothing more can be written.
        BrokenPipeError: whoever reads the output has gone.
    """
    try:
        sink.write(item, encoded)
    except BrokenPipeError:
        raise
    except (OSError, ManifestError, ValueError) as error:
        reason = f"its features cannot be written: {getattr(error, 'strerror', None) or error}"
        return Outcome(encoded.index, reason=reason)
    return Outcome(encoded.index, encoded.seconds, encoded.frames, notes=encoded.notes)


def _drain(finished: list[Outcome]) -> Iterator[Outcome]:
    while finished:
        yield finished.pop(0)
