"""Verbs of pretraining: `pretrain`, `plot`, `prepare`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.shared import CHANGED, AcceptDamaged, ListRoot, allow_fallback, find_config, say, say_faults
from emotion2vec.units import duration

PREEMPTED = 75
"""Exit code of a pretraining run that SIGTERM ended after it was saved: EX_TEMPFAIL of sysexits.h, "try again"."""


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
    from emotion2vec.pretrain.config import load_config

    settings = load_config(find_config(config), overrides or [])
    allow_fallback(settings.run.accelerator)
    from emotion2vec.pretrain.run import pretrain as run

    result = run(settings, say=say)
    if not result.is_main:
        return
    if result.signal is not None:
        say(
            f"stopped after update {result.update} of {settings.optim.max_updates} and saved; the same command "
            f"continues from {settings.run.dir}"
        )
        raise typer.Exit(PREEMPTED if result.signal == signal.SIGTERM else 128 + result.signal)
    say(f"done: {result.update} updates, model in {settings.run.dir}")
    if result.missing:
        say(f"{result.missing} entries that lists name were missing or could not be read")
        raise typer.Exit(1)


def plot(
    run: Annotated[Path, typer.Argument(help="Run folder of `emotion2vec pretrain`.")],
    output: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG. [default: RUN/metrics.png]")] = None,
) -> None:
    """Draw losses, deviations, ranks, probes and speed of a pretraining run."""
    from emotion2vec.training.plot import plot_run

    typer.echo(str(plot_run(run, output)))


def prepare(
    source: Annotated[Path, typer.Argument(help="Audio file, folder, or manifest of any supported kind.")],
    output: Annotated[str, typer.Argument(help="Folder for the shards, new or of an interrupted preparation.")],
    root: ListRoot = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Copy everything as 16 kHz mono FLAC; else files stay as they are.")
    ] = False,
    accept_damaged: AcceptDamaged = False,
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
            accept_damaged=accept_damaged,
            copy=copy,
            shard_size=shard_size,
            workers=workers,
            progress=True,
        )
    except KeyboardInterrupt:
        say(f"stopped; the same command continues in {output}")
        raise typer.Exit(130) from None
    shards = "1 shard" if report.shards == 1 else f"{report.shards} shards"
    say(f"{report.utterances} utterances ({duration(report.seconds)}) in {shards} in {output}")
    if report.resumed:
        say(f"{report.resumed} shards were there already")
    for name, counts in (("Hz", report.rates), ("channels", report.channels)):
        say(f"{name}: " + ", ".join(f"{value} ({count})" for value, count in counts.most_common()))
    if report.size:
        say(f"{report.size / 1e9:.3f} GB of audio")
    say_faults(CHANGED, report.changes, shown=10)
    say_faults(f"unusable, left out and listed in {output}/faults.tsv", report.faults, shown=10)
    say(str(report.summary))
    if report.faults:
        raise typer.Exit(1)
