"""Where a job runs: on this machine, or wherever `executor_for` is told."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emotion2vec.extraction.clips import Source
from emotion2vec.extraction.encoder import Encoder
from emotion2vec.extraction.models import ready_model
from emotion2vec.extraction.outcomes import Outcome, encode_and_write
from emotion2vec.extraction.pipeline import ready_batches
from emotion2vec.extraction.sources import Item
from emotion2vec.extraction.writers import Writer
from emotion2vec.model.encoder import Emotion2vec

ENGINES = ("local", "ray")
"""Where a job can run."""


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """How a job runs; nothing of this is part of what its features are.

    Attributes:
        engine: `local` or `ray`.
        device: see `ready_model`.
        precision: see `ready_model`.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        workers: threads, or on a cluster tasks, that decode; None for one per processor.
        ray_address: the cluster; None for the one that Ray finds, or a new one on this machine.
        actors: processes of the cluster that hold the model; None for one per GPU, or per CPU where there is none.
    """

    engine: str = "local"
    device: str | None = None
    precision: str = "fp32"
    batch_seconds: float | None = None
    workers: int | None = None
    ray_address: str | None = None
    actors: int | None = None

    def faults(self) -> list[str]:
        """What is wrong with where the job shall run."""
        faults = []
        if self.engine not in ENGINES:
            faults.append(f"engine is {self.engine!r}, expected {' or '.join(ENGINES)}")
        if self.engine == "local":
            named = {"ray_address": self.ray_address, "actors": self.actors}
            faults += [f"{name} is {value!r}, which needs engine ray" for name, value in named.items() if value]
        elif self.device not in (None, "auto", "cpu", "cuda"):
            faults.append(f"device is {self.device!r}, expected cpu, cuda or auto: Ray gives each actor its GPU")
        if self.actors is not None and self.actors < 1:
            faults.append(f"actors is {self.actors!r}, expected 1 or more")
        return faults


class Executor(Protocol):
    """Carries a job out."""

    @property
    def model(self) -> Emotion2vec:
        """Tells the dimensions and the weights; it computes on this machine only if the job runs here."""

    @property
    def precision(self) -> str:
        """What is computed in."""

    def outcomes(
        self, todo: Sequence[Item], encoder: Encoder, writer: Writer, folder: Path | None
    ) -> Generator[Outcome, None, None]:
        """Decode, encode and write every item; each gives one outcome, in any order. See `encode_and_write`."""


@dataclass(frozen=True)
class LocalExecutor:
    """Threads that decode, the model, and a thread that writes."""

    model: Emotion2vec
    precision: str
    batch_seconds: float | None = None
    workers: int | None = None

    def outcomes(
        self, todo: Sequence[Item], encoder: Encoder, writer: Writer, folder: Path | None
    ) -> Generator[Outcome, None, None]:
        """See `Executor`."""
        sources = (Source(index, item.where, item.blocks) for index, item in enumerate(todo))
        batches = ready_batches(
            sources,
            self.model,
            chunking=encoder.chunking,
            batch_seconds=self.batch_seconds,
            workers=self.workers,
        )
        with closing(batches):
            yield from encode_and_write(batches, todo, encoder, writer, folder)


@contextmanager
def local_executor(model: str | Path | Emotion2vec, options: ExecutorOptions) -> Iterator[LocalExecutor]:
    """Load or borrow a model for a job on this machine; see `ready_model`."""
    with ready_model(model, options.device, options.precision) as (ready, precision):
        yield LocalExecutor(ready, precision, options.batch_seconds, options.workers)


def executor_for(model: str | Path | Emotion2vec, options: ExecutorOptions) -> AbstractContextManager[Executor]:
    """The executor that the options name.

    Raises:
        ConfigError: there is no such device, or the cluster or its package is missing.
        CheckpointError: the model cannot be loaded.
    """
    if options.engine == "local":
        return local_executor(model, options)
    from emotion2vec.extraction.ray_executor import ray_executor

    return ray_executor(model, options)
