"""What can be wrong with the options of a job, found before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emotion2vec.audio.windows import Chunking
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.sources.named import parse_shard
from emotion2vec.extraction.writers import FORMATS

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
"""Compute precisions; `auto` stands for what the hardware is best at."""

BACKENDS = ("auto", "torch", "onnx")
"""What can compute a network: `auto` stands for what was measured to be faster."""

ENGINES = ("local", "ray")
"""Where a job can run."""


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """How a job runs; nothing of this is part of what its features are.

    Attributes:
        engine: `local` or `ray`.
        device: see `ready_model`.
        precision: see `ready_model`.
        backend: see `ready_model`.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        workers: threads, or on a cluster tasks, that decode; None for one per processor.
        ray_address: the cluster; None for the one that Ray finds, or a new one on this machine.
        actors: processes of the cluster that hold the model; None for one per GPU, or per CPU where there is none.
    """

    engine: str = "local"
    device: str | None = None
    precision: str = "fp32"
    backend: str = "auto"
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
        if self.engine != "local" and self.backend == "onnx":
            faults.append(f"backend is 'onnx', which needs engine local, and engine is {self.engine!r}")
        if self.actors is not None and self.actors < 1:
            faults.append(f"actors is {self.actors!r}, expected 1 or more")
        return faults


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a job asks of a network, as far as it is known before anything is decoded.

    Attributes:
        last_block: the output of the last block is all that is needed.
        seconds: audio of the clips whose length is known, in s.
        unknown: clips whose length is not.
    """

    last_block: bool
    seconds: float = 0.0
    unknown: int = 0

    @classmethod
    def of(cls, choice: FeatureChoice, durations: Sequence[float | None]) -> Workload:
        """What features of clips of so many s ask; None for a length that is not known."""
        lengths = [seconds for seconds in durations if seconds is not None]
        return cls(last_block=choice.last_block, seconds=sum(lengths), unknown=len(durations) - len(lengths))


def extraction_faults(
    choice: FeatureChoice,
    options: ExecutorOptions,
    *,
    format: str,
    chunk_seconds: float,
    chunk_overlap: float,
    shard: str | None,
) -> list[str]:
    """What is wrong with the options of `extract`, whatever the model and the sources."""
    faults = option_faults(
        precision=options.precision,
        batch_seconds=options.batch_seconds,
        workers=options.workers,
    )
    wrong = choice.faults()
    faults += wrong + options.faults() + backend_faults(options.backend, options.precision, None if wrong else choice)
    if format not in FORMATS:
        faults.append(f"format is {format!r}, expected {', '.join(FORMATS)}")
    for check in (lambda: Chunking(chunk_seconds, chunk_overlap), lambda: parse_shard(shard)):
        try:
            check()
        except ConfigError as error:
            faults.append(str(error))
    return faults


def option_faults(*, precision: str, batch_seconds: float | None, workers: int | None) -> list[str]:
    """What is wrong with options that every extraction has."""
    faults = []
    if precision not in ("auto", *PRECISIONS):
        faults.append(f"precision is {precision!r}, expected auto, {', '.join(PRECISIONS)}")
    if batch_seconds is not None and not 0 < batch_seconds < float("inf"):
        faults.append(f"batch_seconds is {batch_seconds!r}, expected a positive number of seconds")
    if workers is not None and workers < 1:
        faults.append(f"workers is {workers!r}, expected 1 or more")
    return faults


def backend_faults(backend: str, precision: str, choice: FeatureChoice | None) -> list[str]:
    """What is wrong with a backend, for a choice of features that is right in itself."""
    if backend not in BACKENDS:
        return [f"backend is {backend!r}, expected {', '.join(BACKENDS)}"]
    if backend != "onnx":
        return []
    faults = []
    if precision in PRECISIONS and precision != "fp32":
        faults.append(f"backend is 'onnx', which computes in fp32, and precision is {precision!r}; expected fp32")
    if choice is not None and not choice.last_block:
        faults.append("backend is 'onnx', which gives the last block's output; expected layers last, features block")
    from emotion2vec.exporting.onnx import INSTALL, missing_packages

    if missing := missing_packages():
        faults.append(f"backend onnx needs {', '.join(missing)}: {INSTALL}")
    return faults


def check_options(faults: list[str]) -> None:
    """Raise everything that is wrong at once.

    Raises:
        ConfigError: there is a fault.
    """
    if faults:
        raise ConfigError("; ".join(faults))
