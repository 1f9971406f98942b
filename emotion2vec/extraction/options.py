"""Options of jobs, and what can be wrong with them, found before anything heavy is imported.

The command line reads them for its help: what they are checked with is imported when they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from emotion2vec.audio.windows import Chunking
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.sources.options import SourceOptions
from emotion2vec.settings import option

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
"""Compute precisions; `auto` stands for what the hardware is best at."""

BACKENDS = ("auto", "torch", "onnx")
"""What can compute a network: `auto` stands for what was measured to be faster."""

ENGINES = ("local", "ray")
"""Where a job can run."""


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What a network computes in, by what and where; see `ready_model`."""

    precision: str = option("fp32", "fp32, bf16, fp16 or (on a CPU) int8; auto: the fastest here, without int8.")
    backend: str = option("auto", "torch, onnx (onnxruntime, on a CPU in fp32), or auto: the one that is faster here.")
    device: str | None = option(None, "cpu, cuda, cuda:1, mps, xpu, npu, ...; by default a CUDA GPU if there is one.")

    def faults(self) -> list[str]:
        """What is wrong, whatever the model and the features."""
        faults = []
        if self.precision not in ("auto", *PRECISIONS):
            faults.append(f"precision is {self.precision!r}, expected auto, {', '.join(PRECISIONS)}")
        return faults

    def backend_faults(self, choice: FeatureChoice | None = None) -> list[str]:
        """What is wrong with the backend, for a choice of features that is right in itself."""
        if self.backend not in BACKENDS:
            return [f"backend is {self.backend!r}, expected {', '.join(BACKENDS)}"]
        if self.backend != "onnx":
            return []
        faults = []
        if self.precision in PRECISIONS and self.precision != "fp32":
            found = f"and precision is {self.precision!r}; expected fp32"
            faults.append(f"backend is 'onnx', which computes in fp32, {found}")
        if choice is not None and not choice.last_block:
            faults.append(
                "backend is 'onnx', which gives the last block's output; expected layers last, features block"
            )
        from emotion2vec.exporting.onnx import INSTALL, missing_packages

        if missing := missing_packages():
            faults.append(f"backend onnx needs {', '.join(missing)}: {INSTALL}")
        return faults


@dataclass(frozen=True, kw_only=True)
class BatchOptions(ComputeOptions):
    """How audio is decoded and laid together; nothing of this is part of what features are."""

    batch_seconds: float | None = option(None, "Audio per batch at most, in seconds.")
    workers: int | None = option(None, "Threads that decode audio.")

    def faults(self) -> list[str]:
        """What is wrong, whatever the model and the features."""
        faults = super().faults()
        if self.batch_seconds is not None and not 0 < self.batch_seconds < float("inf"):
            faults.append(f"batch_seconds is {self.batch_seconds!r}, expected a positive number of seconds")
        if self.workers is not None and self.workers < 1:
            faults.append(f"workers is {self.workers!r}, expected 1 or more")
        return faults


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions(BatchOptions):
    """How a job runs, and where."""

    engine: str = option("local", "local, or ray for a cluster.")
    ray_address: str | None = option(None, "The cluster; by default the one that Ray finds.")
    actors: int | None = option(None, "Processes of the cluster that hold the model.")

    def faults(self) -> list[str]:
        """What is wrong, whatever the model and the features."""
        faults = super().faults()
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
class ExtractOptions:
    """All options of `extract`; as keyword arguments they are called as the fields of the nested dataclasses are."""

    choice: FeatureChoice = field(default_factory=FeatureChoice)
    format: str = option("npy", "npy, npz, safetensors, parquet, hdf5, kaldi, iemocap, csv or xlsx.")
    sources: SourceOptions = field(default_factory=SourceOptions)
    shard: str | None = option(None, "i/n: every n-th item from the i-th on, from 0/n.")
    executor: ExecutorOptions = field(default_factory=ExecutorOptions)
    chunking: Chunking = field(default_factory=Chunking)
    resume: bool = option(False, "Skip what is complete in the output already.")

    def faults(self) -> list[str]:
        """What is wrong, whatever the model and the sources."""
        from emotion2vec.extraction.sources.named import parse_shard
        from emotion2vec.extraction.writers import FORMATS

        wrong = self.choice.faults()
        faults = self.executor.faults() + wrong + self.executor.backend_faults(None if wrong else self.choice)
        if self.format not in FORMATS:
            faults.append(f"format is {self.format!r}, expected {', '.join(FORMATS)}")
        faults += self.chunking.faults()
        try:
            parse_shard(self.shard)
        except ConfigError as error:
            faults.append(str(error))
        return faults


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """All options of `predict`, as those of `extract` are."""

    window: float | None = option(None, "Score windows of this length, in s, in place of whole utterances.")
    adapt: bool = option(
        False, "Adapt to the clips, at least 30 of mixed emotions: how high their scores lie, how many are of what."
    )
    abstain: float | None = option(None, "Give no label where the best has less than this probability.")
    classes: tuple[str, ...] = option((), "Labels to tell apart, such as angry,happy,neutral; by default all.")
    summary: Path | None = option(
        None, "Table of each recording and speaker: shares of time, means, changes; .csv alone: beside the output."
    )
    excel: bool = option(False, "CSV and TSV with what Excel needs: a mark of their encoding, the locale's separators.")
    export: tuple[str, ...] = option(
        (), "Annotations too: textgrid, elan, audacity, rttm, srt or vtt, or one file by its ending; may be repeated."
    )
    export_folder: Path = option(Path("annotations"), "Where a file of each recording goes for the formats of export.")
    plot: Path | None = option(
        None, "Emotions over time, a row per speaker: .html, .pdf, .svg or .png, or a folder for one of each recording."
    )
    text_encoder: str = option("", "Where a model that reads texts finds its text encoder, if not where it was.")
    sources: SourceOptions = field(default_factory=SourceOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """All options of `extract_features`, which is for audio in memory."""

    layers: bool = option(False, "Keep the outputs of all blocks, (L, T, D).")
    accept_damaged: bool = option(False, "Take what there is of damaged files, and warn of each.")
    batching: BatchOptions = field(default_factory=BatchOptions)


def check_options(faults: list[str]) -> None:
    """Raise everything that is wrong at once.

    Raises:
        ConfigError: there is a fault.
    """
    if faults:
        raise ConfigError("; ".join(faults))
