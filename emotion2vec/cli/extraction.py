"""Verbs that run a model over audio: `extract`, `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.shared import (
    CHANGED,
    MODEL_HELP,
    AcceptDamaged,
    Backend,
    Channel,
    Device,
    ListRoot,
    Segments,
    Sources,
    say,
    say_faults,
)
from emotion2vec.units import duration


def extract(
    source: Sources,
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option(help="Folder for <relative path>.npy, or a .npz file.")],
    granularity: Annotated[
        str, typer.Option(help="frame (50 vectors per second), utterance (a summary over time), or both.")
    ] = "frame",
    layers: Annotated[
        str, typer.Option(help="last, all, block numbers from 0 such as 2,5, mean:N for the last N, or weights:FILE.")
    ] = "last",
    features: Annotated[str, typer.Option(help="block outputs, or ffn outputs of the main blocks.")] = "block",
    pooling: Annotated[str, typer.Option(help="The summary over time: mean, mean+std or tokens.")] = "mean",
    downsample: Annotated[int, typer.Option(help="Frames that become one vector.")] = 1,
    downsample_by: Annotated[str, typer.Option(help="Their mean, or skip to take the first of them.")] = "mean",
    dtype: Annotated[str, typer.Option(help="float32 or float16 on disk.")] = "float32",
    format: Annotated[str, typer.Option(help="npy, npz, safetensors, parquet, hdf5, kaldi or iemocap.")] = "npy",
    root: ListRoot = None,
    channel: Channel = None,
    segments: Segments = None,
    accept_damaged: AcceptDamaged = False,
    shard: Annotated[str | None, typer.Option(help="i/n: every n-th item from the i-th on, from 0/n.")] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp32, bf16, fp16 or (on a CPU) int8; auto: the fastest here, without int8."),
    ] = "fp32",
    backend: Backend = "auto",
    device: Device = None,
    chunk_seconds: Annotated[float, typer.Option(help="Longer audio is encoded in windows of this, in s.")] = 40.0,
    chunk_overlap: Annotated[float, typer.Option(help="What neighbouring windows share, in s.")] = 10.0,
    batch_seconds: Annotated[float | None, typer.Option(help="Audio per batch at most, in seconds.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode audio.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what is complete in the output already.")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="The cluster; by default the one that Ray finds.")] = None,
    actors: Annotated[int | None, typer.Option(help="Processes of the cluster that hold the model.")] = None,
) -> None:
    """Extract frozen features from audio. Failures are listed in the output's failed.jsonl."""
    from emotion2vec.extraction.engine import extract as run

    report = run(
        source,
        model=model,
        output=output,
        root=root,
        channel=channel,
        segments=segments,
        accept_damaged=accept_damaged,
        shard=shard,
        granularity=granularity,
        layers=layers,
        features=features,
        pooling=pooling,
        downsample=downsample,
        downsample_by=downsample_by,
        dtype=dtype,
        format=format,
        precision=precision,
        backend=backend,
        device=device,
        chunk_seconds=chunk_seconds,
        chunk_overlap=chunk_overlap,
        batch_seconds=batch_seconds,
        workers=workers,
        resume=resume,
        progress=True,
        engine=engine,
        ray_address=ray_address,
        actors=actors,
    )
    skipped = f", {report.redone} of them anew, as their audio is not what it was" if report.redone else ""
    skipped += f", {report.skipped} were there already" if report.skipped else ""
    computed = f" in {report.precision}" if report.precision != precision else ""
    computed += " by onnxruntime" if report.backend == "onnx" else ""
    say(f"{report.written} utterances ({duration(report.seconds)}) written to {output}{computed}{skipped}")
    say_faults(CHANGED, report.changes, shown=10)
    say_faults("failed", report.failed)
    say(str(report.summary))
    raise typer.Exit(report.exit_code)


def predict(
    source: Sources,
    model: Annotated[str, typer.Option(help=f"With a head. {MODEL_HELP}")],
    output: Annotated[Path | None, typer.Option(help=".jsonl or .csv file; by default JSON lines on stdout.")] = None,
    window: Annotated[
        float | None, typer.Option(help="Score windows of this length, in s, in place of whole utterances.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Folder for a picture of each file's scores over time.")] = None,
    root: ListRoot = None,
    channel: Channel = None,
    segments: Segments = None,
    accept_damaged: AcceptDamaged = False,
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16, int8 or auto.")] = "fp32",
    backend: Backend = "auto",
    device: Device = None,
) -> None:
    """Label audio with a model that has a head: probabilities per utterance, or per window over time."""
    from emotion2vec.extraction.predict import predict as run

    report = run(
        source,
        model=model,
        output=output,
        window=window,
        plot=plot,
        root=root,
        channel=channel,
        segments=segments,
        accept_damaged=accept_damaged,
        precision=precision,
        backend=backend,
        device=device,
        progress=True,
    )
    computed = " by onnxruntime" if report.backend == "onnx" else ""
    say(f"{report.written} utterances ({duration(report.seconds)}) labelled{computed}")
    say_faults(CHANGED, report.changes, shown=10)
    say_faults("failed", report.failed)
    say(str(report.summary))
    raise typer.Exit(report.exit_code)
