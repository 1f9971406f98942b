"""From sources to features on disk: sources -> decode -> windows -> batches -> encoder -> reduction -> writer.

What needs torch is imported when options and sources are known to be right: a mistake is answered at once.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.data.manifests import Fault
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.choices import FeatureChoice, Layers, read_layers
from emotion2vec.extraction.chunks import Chunking
from emotion2vec.extraction.job import FailureLog, JobRecord
from emotion2vec.extraction.options import ExecutorOptions, Workload, check_options, extraction_faults
from emotion2vec.extraction.progress import Progress, ProgressCallback, progress_bar
from emotion2vec.extraction.sources import AnySources, Item, read_sources
from emotion2vec.extraction.writers import Writer, open_writer, output_folder

if TYPE_CHECKING:
    from emotion2vec.extraction.executor import Executor
    from emotion2vec.extraction.outcomes import Outcome
    from emotion2vec.model.encoder import Emotion2vec


@dataclass
class ExtractionReport:
    """What became of a list of audio.

    Attributes:
        written: items whose features were written.
        skipped: items whose features were there already.
        seconds: audio of the written items, in s.
        frames: frames of the written items.
        failed: everything that could not be extracted, with the reason.
        precision: what was computed in.
        backend: what computed: `torch`, or `onnx` for onnxruntime.
    """

    written: int = 0
    skipped: int = 0
    seconds: float = 0.0
    frames: int = 0
    failed: list[Fault] = field(default_factory=list)
    precision: str = "fp32"
    backend: str = "torch"

    @classmethod
    def by(cls, executor: Executor) -> ExtractionReport:
        """An empty report of what an executor is going to do."""
        return cls(precision=executor.precision, backend="torch" if executor.graph is None else "onnx")

    @property
    def exit_code(self) -> int:
        """What a command should exit with: 0 all done, 1 some inputs failed, 2 nothing could be extracted."""
        if not self.failed:
            return 0
        return 1 if self.written + self.skipped else 2


def extract(
    source: AnySources,
    *,
    model: str | Path | Emotion2vec,
    output: str | Path,
    root: Path | None = None,
    channel: int | None = None,
    segments: str | Path | None = None,
    shard: str | None = None,
    granularity: str = "frame",
    layers: Layers = "last",
    features: str = "block",
    pooling: str = "mean",
    downsample: int = 1,
    downsample_by: str = "mean",
    dtype: str = "float32",
    format: str = "npy",
    precision: str = "fp32",
    backend: str = "auto",
    device: str | None = None,
    chunk_seconds: float = 40.0,
    chunk_overlap: float = 10.0,
    batch_seconds: float | None = None,
    workers: int | None = None,
    resume: bool = False,
    progress: bool | ProgressCallback = False,
    engine: str = "local",
    ray_address: str | None = None,
    actors: int | None = None,
) -> ExtractionReport:
    """Extract features of everything that the sources list, and write them.

    A bad file or line is reported, also in `failed.jsonl`, and the others are done. After an interrupt, what was
    written is complete, and `resume` does the rest.

    Args:
        source: see `read_sources`: files, folders, globs, manifests, URLs, `-`; one or a list.
        model: a model, or what `load_model` takes.
        output: folder; for the format npz it may be the archive's name.
        root: folder that relative paths in manifests start from; by default the manifest's own.
        channel: take this channel, counted from 0, in place of the mean of all.
        segments: RTTM or Kaldi `segments` file that cuts the recordings, or `vad` for their stretches with speech.
        shard: `i/n` for every n-th item from the i-th on, 0 ≤ i < n.
        granularity: `frame` for (T, D), 50 vectors per second, `utterance` for a summary over time, or `both`.
        layers: `last`, `all`, block numbers from 0, `mean:N` or `weights:FILE`; see `choices.Layers`.
        features: `block` outputs or `ffn` outputs.
        pooling: `mean`, `mean+std` or `tokens`: the summary over time.
        downsample: frames that become one vector.
        downsample_by: their `mean`, or `skip` for the first of them.
        dtype: `float32` or `float16` on disk.
        format: `npy`, `npz`, `safetensors`, `parquet`, `hdf5`, `kaldi` or `iemocap`.
        precision: `fp32`, `bf16`, `fp16`, `int8` on a CPU, or `auto`: the fastest here without int8.
        backend: `torch`, `onnx` for onnxruntime on a CPU, or `auto` for the faster one.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`; None means `auto`, or where a given model is.
        chunk_seconds: longer audio is encoded in windows of this length, in s.
        chunk_overlap: what neighbouring windows share, in s.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        workers: threads that decode; None for one per processor, at most 8.
        resume: keep the features that are complete; refused unless the same model and options made them.
        progress: show a progress bar if stderr is a terminal, or call this after each item.
        engine: `local`, or `ray` for a cluster; see `emotion2vec.extraction.ray_executor`.
        ray_address: the cluster, such as `host:6379` or `auto`; None for the one that Ray finds, or a new one here.
        actors: processes of the cluster that hold the model; None for one per GPU, or per CPU where there is none.

    Raises:
        ConfigError: an argument is wrong, or nothing more can be written to the output.
        ManifestError: the sources cannot be read or have no usable entry.
        CheckpointError: the model cannot be loaded.
    """
    choice = FeatureChoice(
        granularity=granularity,
        layers=layers,
        features=features,
        pooling=pooling,
        downsample=downsample,
        downsample_by=downsample_by,
        dtype=dtype,
    )
    options = ExecutorOptions(
        engine=engine,
        device=device,
        precision=precision,
        backend=backend,
        batch_seconds=batch_seconds,
        workers=workers,
        ray_address=ray_address,
        actors=actors,
    )
    check_options(
        extraction_faults(
            choice,
            options,
            format=format,
            chunk_seconds=chunk_seconds,
            chunk_overlap=chunk_overlap,
            shard=shard,
        )
    )
    chunking = Chunking(chunk_seconds, chunk_overlap)
    tag = f"-{shard.replace('/', '-of-')}" if shard else ""
    found = read_sources(source, root=root, channel=channel, segments=segments, shard=shard, workers=workers)

    from emotion2vec.extraction.encoder import Encoder
    from emotion2vec.extraction.executor import executor_for
    from emotion2vec.extraction.fingerprint import weights_hash

    workload = Workload.of(choice, [item.duration for item in found.items])
    with executor_for(model, options, workload) as executor:
        encoder = Encoder(executor.model, choice, precision=executor.precision, chunking=chunking, graph=executor.graph)
        folder = output_folder(format, Path(output))
        facts = {"format": format, "precision": executor.precision, **asdict(choice)}
        facts |= {"chunk_seconds": chunk_seconds, "chunk_overlap": chunk_overlap, "channel": channel}
        if (weights := read_layers(layers).weights) is not None:  # the file may hold others another time
            facts["layer_weights"] = weights.tolist()
        record = JobRecord(folder / _beside(output, "job.json"), {"model": weights_hash(executor.model), **facts})
        resume = resume and record.check()
        with (
            closing(open_writer(format, output, encoder.layout, resume=resume, tag=tag)) as writer,
            closing(FailureLog(folder / _beside(output, f"failed{tag}.jsonl"))) as log,
        ):
            record.write()
            job = Job(writer, log, ExtractionReport.by(executor))
            for fault in found.faults:
                job.fail(fault)
            todo = job.plan(found.items, resume)
            with progress_bar(len(todo)) if progress is True else nullcontext(progress or None) as callback:
                job.run(executor.outcomes(todo, encoder, writer, folder), todo, callback)
    return job.report


def _beside(output: str | Path, name: str) -> str:
    """Name of a file beside the features; those of an archive carry the archive's name."""
    path = Path(output)
    return f"{path.stem}.{name}" if path.suffix.lower() == ".npz" else name


class Job:
    """One run over a list of items: every one ends as written, skipped or failed.

    Args:
        writer: takes the features.
        log: takes the failures too.
        report: is filled.
    """

    def __init__(self, writer: Writer, log: FailureLog | None, report: ExtractionReport):
        self.report = report
        self._writer = writer
        self._log = log

    def fail(self, fault: Fault) -> None:
        """Note that something could not be extracted."""
        self.report.failed.append(fault)
        if self._log is not None:
            self._log.add(fault)

    def plan(self, items: list[Item], resume: bool) -> list[Item]:
        """Choose what to extract; unsafe and colliding ids fail, and to resume, what is there is skipped."""
        todo: list[Item] = []
        taken: dict[str, Item] = {}
        for item in items:
            try:
                targets = self._writer.targets(item)
            except ManifestError as error:
                self.fail(Fault(str(item.audio), str(error)))
                continue
            clash = next((target for target in targets if target in taken), None)
            if clash is not None:
                self.fail(Fault(str(item.audio), f"would overwrite {clash}, the output of {taken[clash].audio}"))
                continue
            taken.update(dict.fromkeys(targets, item))
            if resume and self._writer.has(item):
                self.report.skipped += 1
            else:
                todo.append(item)
        return todo

    def run(
        self, outcomes: Generator[Outcome, None, None], todo: list[Item], callback: ProgressCallback | None
    ) -> None:
        """Take what becomes of the items, until there is nothing left to do."""
        started, failed = time.monotonic(), 0
        report = self.report
        with closing(outcomes):
            for outcome in outcomes:
                if outcome.reason is None:
                    report.written += 1
                    report.seconds += outcome.seconds
                    report.frames += outcome.frames
                else:
                    failed += 1
                    self.fail(Fault(todo[outcome.index].where, outcome.reason))
                if callback is not None:
                    elapsed = time.monotonic() - started
                    callback(Progress(failed + report.written, len(todo), failed, report.seconds, elapsed))
