"""Where a job runs: on this machine, or wherever `executor_for` is told."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode.batching import ready_batches
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.encode.graphs import GraphNetwork
from emotion2vec.extraction.encode.ready import ready_model
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.options import BatchOptions, ExecutorOptions
from emotion2vec.extraction.pipeline import Sink, encode_and_write
from emotion2vec.extraction.run import ExtractionReport, Outcome
from emotion2vec.extraction.sources.decoding import Undecoded
from emotion2vec.extraction.writers.outputs import Outputs
from emotion2vec.model.speech import SpeechEncoder


class Executor(Protocol):
    """Carries a job out."""

    @property
    def model(self) -> SpeechEncoder:
        """Tells the dimensions and the weights; it computes on this machine only if the job runs here."""

    @property
    def precision(self) -> str:
        """What is computed in."""

    @property
    def graph(self) -> GraphNetwork | None:
        """What computes in place of the model; None for the model itself."""

    def outcomes(
        self, todo: Sequence[Utterance], encoder: Encoder, outputs: Outputs, folder: Path
    ) -> Generator[Outcome, None, None]:
        """Decode, encode and write every item; each gives one outcome, in any order. See `encode_and_write`."""


@dataclass(frozen=True)
class LocalExecutor:
    """Threads that decode, the model, and a thread that writes."""

    model: SpeechEncoder
    precision: str
    graph: GraphNetwork | None
    batch_seconds: float | None = None
    workers: int | None = None

    def outcomes(
        self, todo: Sequence[Utterance], encoder: Encoder, outputs: Sink, folder: Path | None
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
    model: str | Path | SpeechEncoder, options: BatchOptions, workload: Workload
) -> Iterator[LocalExecutor]:
    """Load or borrow a model for a job on this machine; see `ready_model`."""
    with ready_model(model, options.device, options.precision, backend=options.backend, workload=workload) as ready:
        yield LocalExecutor(*ready, options.batch_seconds, options.workers)


def executor_for(
    model: str | Path | SpeechEncoder, options: ExecutorOptions, workload: Workload
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
