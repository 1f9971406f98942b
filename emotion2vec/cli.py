"""The command line: one verb, one typed function; everything heavy is imported inside the verb."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from emotion2vec.errors import Emotion2vecError

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
DEVICE_HELP = "cpu, cuda, cuda:1, ...; by default a GPU if there is one."


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
    root: Annotated[Path | None, typer.Option(help="Where relative paths of a manifest start.")] = None,
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
        _say(f"{len(report.faults)} unusable, left out and listed in {output}/faults.tsv:")
        for fault in report.faults[:10]:
            _say(f"  {fault}")
        if len(report.faults) > 10:
            _say(f"  and {len(report.faults) - 10} more")
        raise typer.Exit(1)


@app.command()
def extract(
    source: Annotated[Path, typer.Argument(help="Audio file, folder, or manifest of any supported kind.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option(help="Folder for <relative path>.npy, or a .npz file.")],
    granularity: Annotated[
        str, typer.Option(help="frame (50 vectors per second) or utterance (their mean).")
    ] = "frame",
    layers: Annotated[str, typer.Option(help="last, all, or block numbers from 0, such as 3 or 2,5.")] = "last",
    format: Annotated[str, typer.Option(help="npy or npz.")] = "npy",
    root: Annotated[Path | None, typer.Option(help="Where relative paths of a manifest start.")] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16; features are always float32.")] = "fp32",
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    batch_seconds: Annotated[float | None, typer.Option(help="Audio per batch at most, in seconds.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode audio.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what is complete in the output already.")] = False,
) -> None:
    """Extract frozen features from audio."""
    from emotion2vec.extraction.engine import extract as run

    report = run(
        source,
        model=model,
        output=output,
        root=root,
        granularity=granularity,
        layers=layers,
        format=format,
        precision=precision,
        device=device,
        batch_seconds=batch_seconds,
        workers=workers,
        resume=resume,
        progress=True,
    )
    skipped = f", {report.skipped} were there already" if report.skipped else ""
    _say(f"{report.written} utterances ({report.seconds / 3600:.2f} h) written to {output}{skipped}")
    if report.failed:
        _say(f"{len(report.failed)} failed:")
        for fault in report.failed:
            _say(f"  {fault}")
    raise typer.Exit(report.exit_code)


@app.command()
def probe(
    dataset: Annotated[str | None, typer.Option(help="Name of a corpus, with its folder in --root.")] = None,
    table: Annotated[Path | None, typer.Option(help="CSV or TSV with columns file, emotion, speaker.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the audio.")] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="logmel, mfcc, untrained, or a model; may be repeated.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="One more model to probe; untrained takes its shape.")] = None,
    folds: Annotated[str, typer.Option(help="speaker, session, official or random.")] = "speaker",
    head: Annotated[
        list[str] | None, typer.Option(help="mlp, linear or logreg; may be repeated. [default: mlp]")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed; may be repeated for means. [default: 0]")] = None,
    layer: Annotated[str, typer.Option(help="last, mean, all, or a block number from 0.")] = "last",
    pooling: Annotated[str | None, typer.Option(help="mean or mean+std over time, for logreg.")] = None,
    standardize: Annotated[bool, typer.Option(help="Standardize channels for neural heads.")] = True,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps features between runs.")] = None,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the scores.")] = None,
) -> None:
    """Train small heads on frozen features and score them on held-out speakers."""
    from emotion2vec.probe.benchmark import probe as run
    from emotion2vec.probe.report import show

    result = run(
        dataset=dataset,
        table=table,
        root=root,
        features=features or [],
        model=model,
        folds=folds,
        heads=head or ["mlp"],
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


def _print_facts(facts: dict[str, Any], indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{name}")
            _print_facts(value, indent + "  ")
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            typer.echo(f"{indent}{name:<20} {shown}")


def _find_config(name: str) -> Path:
    """A path as it is, or the shipped configuration of that name."""
    from emotion2vec.assets import asset_folder

    path = Path(name)
    shipped = asset_folder("configs") / "pretrain" / f"{name}.yaml"
    return shipped if path.parent == Path() and not path.suffix and shipped.is_file() else path


def _say(text: str) -> None:
    typer.echo(text, err=True)
