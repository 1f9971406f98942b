"""From sources to features on disk: sources -> decode -> windows -> batches -> encoder -> reduction -> writer.

What needs torch is imported when options and sources are known to be right: a mistake is answered at once.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.audio.windows import Chunking
from emotion2vec.extraction.encode.choices import FeatureChoice, Layers, read_layers
from emotion2vec.extraction.options import ExecutorOptions, Workload, check_options, extraction_faults
from emotion2vec.extraction.progress import ProgressCallback, progress_bar
from emotion2vec.extraction.run import ExtractionReport, Job
from emotion2vec.extraction.sources.named import AnySources, read_sources
from emotion2vec.extraction.writers import output_folder
from emotion2vec.extraction.writers.job import JobRecord
from emotion2vec.extraction.writers.outputs import beside, open_outputs

if TYPE_CHECKING:
    from emotion2vec.model.encoder import Emotion2vec


def extract(
    source: AnySources,
    *,
    model: str | Path | Emotion2vec,
    output: str | Path,
    root: Path | None = None,
    channel: int | None = None,
    segments: str | Path | None = None,
    accept_damaged: bool = False,
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
        accept_damaged: take what there is of damaged files, and warn of each; otherwise they fail.
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
        resume: keep the features that are complete and made of the audio that is there now; refused unless the same
            model and options made them. What was made of other audio is done again.
        progress: show a progress bar if stderr is a terminal, or call this after each item.
        engine: `local`, or `ray` for a cluster; see `emotion2vec.extraction.ray.executor`.
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
    found = read_sources(
        source,
        root=root,
        channel=channel,
        segments=segments,
        shard=shard,
        workers=workers,
        accept_damaged=accept_damaged,
    )

    from emotion2vec.extraction.encode.encoder import Encoder
    from emotion2vec.extraction.executor import executor_for
    from emotion2vec.model.fingerprint import weights_hash

    workload = Workload.of(choice, [item.duration for item in found.utterances])
    with executor_for(model, options, workload) as executor:
        encoder = Encoder(executor.model, choice, precision=executor.precision, chunking=chunking, graph=executor.graph)
        folder = output_folder(format, Path(output))
        facts = {"format": format, "precision": executor.precision, **asdict(choice)}
        facts |= {"chunk_seconds": chunk_seconds, "chunk_overlap": chunk_overlap, "channel": channel}
        if (weights := read_layers(layers).weights) is not None:  # the file may hold others another time
            facts["layer_weights"] = weights.tolist()
        record = JobRecord(folder / beside(output, "job.json"), {"model": weights_hash(executor.model), **facts}, tag)
        resume = resume and record.check()
        with open_outputs(format, output, encoder.layout, folder, resume=resume, tag=tag) as outputs:
            record.write()
            job = Job(outputs.writer, outputs.log, ExtractionReport.by(executor), outputs.ledger)
            job.begin(found)
            todo = job.plan(found.utterances, resume)
            with progress_bar(len(todo)) if progress is True else nullcontext(progress or None) as callback:
                job.run(executor.outcomes(todo, encoder, outputs.writer, folder), todo, callback)
        record.write(job.report.summary.to_dict())
    return job.report
