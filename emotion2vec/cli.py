"""The command line: one verb, one typed function; everything heavy is imported inside the verb."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from emotion2vec.errors import ConfigError, Emotion2vecError

app = typer.Typer(
    name="emotion2vec",
    help="Pretrain emotion2vec on unlabeled speech, extract frozen features, and probe them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PREEMPTED = 75
"""Exit code of a pretraining run that SIGTERM ended after it was saved: EX_TEMPFAIL of sysexits.h, "try again"."""

MODEL_HELP = (
    "Model or run folder of ours, fairseq .pt, FunASR or Hugging Face folder, hf:owner/name, ms:owner/name, or a name: "
    "tiny, base, plus-seed, plus-base, plus-large."
)

# Options that several verbs share.
Sources = Annotated[
    list[str],
    typer.Argument(help="Audio files, folders, globs, manifests of any supported kind, URLs, or - for stdin."),
]
ListRoot = Annotated[Path | None, typer.Option(help="Where relative paths of a list start.")]
Channel = Annotated[int | None, typer.Option(help="Channel from 0, in place of the mean of all.")]
Segments = Annotated[
    Path | None,
    typer.Option(help="RTTM or Kaldi segments file that cuts the recordings, or vad for their stretches with speech."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; by default a GPU if there is one.")]
Dataset = Annotated[str | None, typer.Option(help="Name of a corpus, with its folder in --root.")]
Table = Annotated[Path | None, typer.Option(help="CSV or TSV with columns file, emotion, speaker.")]
EmoBox = Annotated[Path | None, typer.Option(help="Folder of a corpus in EmoBox's metadata.")]
CorpusRoot = Annotated[
    Path | None, typer.Option("--root", "--audio-root", help="Folder of the audio; alone: one folder per class.")
]
Layer = Annotated[str, typer.Option(help="last, mean, mean:N, all, or a block number from 0.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps features between runs.")]


def main() -> None:
    """Run the command line: mistakes of the user become a message on stderr and exit code 2, never a traceback."""
    try:
        app()
    except Emotion2vecError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


@app.command()
def pretrain(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as optim.lr=1e-4.")
    ] = None,
    config: Annotated[
        str, typer.Option(help="YAML file, or the name of one that ships with the package: tiny, small, base, large.")
    ] = "base",
) -> None:
    """Pretrain on unlabeled speech: data.train=FOLDER_OR_MANIFEST run.dir=FOLDER are required.

    The same command continues an interrupted run.
    """
    from emotion2vec.config import load_config

    settings = load_config(_find_config(config), overrides or [])
    from emotion2vec.training.run import pretrain as run

    result = run(settings, say=_say)
    if not result.is_main:
        return
    if result.signal is not None:
        _say(
            f"stopped after update {result.update} of {settings.optim.max_updates} and saved; the same command "
            f"continues from {settings.run.dir}"
        )
        raise typer.Exit(PREEMPTED if result.signal == signal.SIGTERM else 128 + result.signal)
    _say(f"done: {result.update} updates, model in {settings.run.dir}")


@app.command()
def plot(
    run: Annotated[Path, typer.Argument(help="Run folder of `emotion2vec pretrain`.")],
    output: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG. [default: RUN/metrics.png]")] = None,
) -> None:
    """Draw losses, deviations, ranks, probes and speed of a pretraining run."""
    from emotion2vec.training.plot import plot_run

    typer.echo(str(plot_run(run, output)))


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Audio file, folder, or manifest of any supported kind.")],
    output: Annotated[str, typer.Argument(help="Folder for the shards, new or of an interrupted preparation.")],
    root: ListRoot = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Copy everything as 16 kHz mono FLAC; else files stay as they are.")
    ] = False,
    copy: Annotated[bool, typer.Option(help="Copy audio into tar shards, or only name the files.")] = True,
    shard_size: Annotated[int, typer.Option(help="Utterances per shard.")] = 1000,
    workers: Annotated[int | None, typer.Option(help="Processes that decode; by default one per processor.")] = None,
) -> None:
    """Check audio and write it as shards, for corpora too large to scan at every start: data.train=OUTPUT.

    The same command continues an interrupted preparation.
    """
    from emotion2vec.data.prepare import prepare as run

    try:
        report = run(
            source,
            output,
            root=root,
            resample=resample,
            copy=copy,
            shard_size=shard_size,
            workers=workers,
            progress=True,
        )
    except KeyboardInterrupt:
        _say(f"stopped; the same command continues in {output}")
        raise typer.Exit(130) from None
    _say(f"{report.utterances} utterances ({report.seconds / 3600:.2f} h) in {report.shards} shards in {output}")
    if report.resumed:
        _say(f"{report.resumed} shards were there already")
    for name, counts in (("Hz", report.rates), ("channels", report.channels)):
        _say(f"{name}: " + ", ".join(f"{value} ({count})" for value, count in counts.most_common()))
    if report.size:
        _say(f"{report.size / 1e9:.3f} GB of audio")
    if report.faults:
        _say_faults(f"unusable, left out and listed in {output}/faults.tsv", report.faults, shown=10)
        raise typer.Exit(1)


@app.command()
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
    shard: Annotated[str | None, typer.Option(help="i/n: every n-th item from the i-th on, from 0/n.")] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16 to compute in, or auto for what the hardware is best at.")
    ] = "fp32",
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
    skipped = f", {report.skipped} were there already" if report.skipped else ""
    computed = f" in {report.precision}" if precision == "auto" else ""
    _say(f"{report.written} utterances ({report.seconds / 3600:.2f} h) written to {output}{computed}{skipped}")
    _say_faults("failed", report.failed)
    raise typer.Exit(report.exit_code)


@app.command()
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
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16 or auto.")] = "fp32",
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
        precision=precision,
        device=device,
        progress=True,
    )
    _say(f"{report.written} utterances ({report.seconds / 3600:.2f} h) labelled")
    _say_faults("failed", report.failed)
    raise typer.Exit(report.exit_code)


@app.command()
def probe(
    dataset: Dataset = None,
    table: Table = None,
    emobox: EmoBox = None,
    root: CorpusRoot = None,
    features: Annotated[
        list[str] | None,
        typer.Option(help="logmel, mfcc, egemaps, untrained, hf:NAME, torchaudio:NAME, a model; may be repeated."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="One more model to probe; untrained takes its shape.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Predict a value such as arousal, in place of classes; may be repeated."),
    ] = None,
    context: Annotated[
        int, typer.Option(help="Predict a turn of a conversation from that many turns before it; 6 in the paper.")
    ] = 0,
    folds: Annotated[
        str,
        typer.Option(
            help="speaker, speaker:K, 8-1-1, session, session-80-20, official, emobox, random, corpus or language."
        ),
    ] = "speaker",
    head: Annotated[
        list[str] | None,
        typer.Option(
            help="mlp, linear, logreg, weighted, attention, gru; ridge for targets; dialogue or dialogue-frames for a "
            "context; may be repeated. [default: mlp, or dialogue]"
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed; may be repeated for means. [default: 0]")] = None,
    layer: Layer = "last",
    pooling: Annotated[str | None, typer.Option(help="mean or mean+std over time, for logreg.")] = None,
    standardize: Annotated[bool, typer.Option(help="Standardize channels for neural heads.")] = True,
    cache: Cache = None,
    device: Device = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the scores.")] = None,
) -> None:
    """Train small heads on frozen features and score them on held-out speakers."""
    from emotion2vec.probe.probing import probe as run
    from emotion2vec.probe.report import show
    from emotion2vec.probe.stopping import leaving_at_once

    kept = f"features are kept in {cache}" if cache else "nothing is kept; --cache DIR would keep features"
    with leaving_at_once(lambda: kept):
        result = run(
            dataset=dataset,
            table=table,
            emobox=emobox,
            root=root,
            features=features or [],
            model=model,
            targets=target or [],
            context=context,
            folds=folds,
            heads=head or [],
            seeds=seed or [0],
            layer=layer,
            pooling=pooling,
            standardize=standardize,
            cache=cache,
            device=device,
            output=output,
            progress=True,
        )
    show(result)
    if left_out := result.about["left_out"]:
        _say("these scores are incomplete:")
        _say_faults("clips could not be used", [f"{row['file']}: {row['reason']}" for row in left_out])
        raise typer.Exit(1)


@app.command()
def benchmark(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as data=/speech output=results."),
    ] = None,
    config: Annotated[
        str,
        typer.Option(
            help="YAML file, or the name of a shipped one: acted, iemocap, song, sentiment, dimensions, languages or "
            "conversation."
        ),
    ] = "acted",
) -> None:
    """Probe many features on many corpora, and write one report; the same command goes on after an interrupt."""
    import shlex

    from emotion2vec.probe.benchmark import run_benchmark
    from emotion2vec.probe.plan import load_plan
    from emotion2vec.probe.stopping import leaving_at_once

    plan = load_plan(_find_config(config, "benchmark"), overrides or [])
    command = shlex.join(["emotion2vec", "benchmark", "--config", config, *(overrides or [])])
    finished = Path(plan.output) / "results"
    with leaving_at_once(
        lambda: f"{len(list(finished.glob('*.json')))} results are kept in {finished}; the same command goes on"
    ):
        result = run_benchmark(plan, command, progress=True)
    for failure in result.failures:
        _say(f"failed: {failure['corpus']} {failure['feature']}: {failure['reason']}")
    if incomplete := sum(not document["complete"] for document in result.documents):
        _say(f"incomplete: {incomplete} results, as clips could not be used; the report marks them")
    _say(f"{len(result.documents)} results in {Path(plan.output) / 'report.html'}")
    raise typer.Exit(result.exit_code)


@app.command()
def visualize(
    output: Annotated[Path, typer.Option(help="HTML file.")],
    dataset: Dataset = None,
    table: Table = None,
    emobox: EmoBox = None,
    root: CorpusRoot = None,
    features: Annotated[list[str] | None, typer.Option(help="As for probe; may be repeated. [default: tiny]")] = None,
    layer: Layer = "last",
    pooling: Annotated[str | None, typer.Option(help="mean or mean+std over time.")] = None,
    cache: Cache = None,
    device: Device = None,
) -> None:
    """Draw features in two dimensions, by emotion, arousal and speaker."""
    from emotion2vec.extraction.models import choose_device
    from emotion2vec.probe.embedding import MOST_POINTS
    from emotion2vec.probe.page import write_plots
    from emotion2vec.probe.request import Request
    from emotion2vec.probe.stopping import leaving_at_once

    clipset = Request(dataset=dataset, table=table, emobox=emobox, root=root).checked().read()
    names, place = features or ["tiny"], str(choose_device(device))
    with leaving_at_once(lambda: "nothing is written"):
        write_plots(clipset, names, output, layer=layer, pooling=pooling, cache=cache, device=place, progress=True)
    drawn = f"{min(MOST_POINTS, len(clipset.clips))} of {len(clipset.clips)} clips"
    _say(f"{len(names)} features of {drawn} drawn in {output}")


@app.command()
def info(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
) -> None:
    """Show what a checkpoint is: format, dimensions, parameters by part, labels, licence, size and checksum."""
    from emotion2vec.checkpoint.info import describe_model

    _print_facts(describe_model(model))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Any model that we read: a path, or a name.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A .pt file for fairseq, a new folder otherwise.")],
    to: Annotated[str, typer.Option(help="native, fairseq, funasr, huggingface or onnx-ready.")],
    use: Annotated[str, typer.Option(help="Whose weights: student, or teacher where the checkpoint has one.")] = (
        "student"
    ),
) -> None:
    """Convert a checkpoint for another tool; weights stay the same, bit for bit."""
    from emotion2vec.checkpoint.convert import convert as run

    done = run(source, output, to=to, use=use)
    for note in done.notes:
        _say(f"note: {note}")
    _say(f"{done.read} -> {done.written}: {done.output}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="New file that ends in .onnx or .pt2, or a folder for it.")
    ],
    format: Annotated[str, typer.Option(help="onnx or torch-export.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in int8, for ONNX: a third of the size, faster, less exact.")
    ] = False,
) -> None:
    """Write the path from 16 kHz samples to features and scores as one graph, which runs without this package."""
    from emotion2vec.checkpoint.export import export as run

    done = run(model, output, format=format, int8=int8)
    _say(
        f"{done.output}: its outputs are within {done.difference:.1e} of the model's, the lowest cosine is "
        f"{done.cosine:.6f}"
    )


def _print_facts(facts: dict[str, Any], indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{name}")
            _print_facts(value, indent + "  ")
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            typer.echo(f"{indent}{name:<20} {shown}")


def _find_config(name: str, kind: str = "pretrain") -> Path:
    """The shipped configuration of that name, or a path as it is."""
    from emotion2vec.assets import asset_folder

    shipped = {file.stem: file for file in sorted((asset_folder("configs") / kind).glob("*.yaml"))}
    path = shipped.get(name, Path(name))
    if path == Path(path.stem) and not path.exists():  # neither a folder nor a suffix: meant as a name
        raise ConfigError(f"config is {name!r}, expected a YAML file or one of {', '.join(shipped)}")
    return path


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _say_faults(what: str, faults: Sequence[object], shown: int = 100) -> None:
    if faults:
        _say(f"{len(faults)} {what}:")
        for fault in faults[:shown]:
            _say(f"  {fault}")
        if len(faults) > shown:
            _say(f"  and {len(faults) - shown} more")
