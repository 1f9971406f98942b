"""The verb `prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from emotion2vec.cli import dry_run
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.options import takes
from emotion2vec.cli.shared import CHANGED, say_faults, say_summary
from emotion2vec.data.config import PrepareOptions
from emotion2vec.settings import option
from emotion2vec.stopping import PREEMPTED, Terminated
from emotion2vec.units import counted, duration


@dataclass(kw_only=True)
class Arguments:
    """What the verb takes."""

    options: PrepareOptions
    dry_run: bool = option(False, dry_run.HELP)


@takes(Arguments)
def prepare(arguments: Arguments) -> None:
    """Check audio and write it as shards, for corpora too large to scan at every start: data.train=OUTPUT.

    The same command continues an interrupted preparation.
    """
    options = arguments.options
    if arguments.dry_run:
        return dry_run.prepare(options)
    from emotion2vec.data.prepare import prepare as run

    output = options.output
    try:
        report = run(**vars(options), progress=True, on_progress=progress_events())
    except KeyboardInterrupt as error:
        say(f"stopped; the same command continues in {output}")
        raise typer.Exit(PREEMPTED if isinstance(error, Terminated) else 130) from None
    facts: dict[str, Any] = {"written": report.utterances, "seconds": report.seconds, "output": output}
    shards = counted(report.shards, "shard")
    say(
        f"{counted(report.utterances, 'utterance')} ({duration(report.seconds)}) in {shards} in {output}",
        event="done",
        **facts,
    )
    if report.resumed:
        say(f"{counted(report.resumed, 'shard was', 'shards were')} there already")
    for name, counts in (("Hz", report.rates), ("channels", report.channels)):
        say(f"{name}: " + ", ".join(f"{value} ({count})" for value, count in counts.most_common()))
    if report.size:
        say(f"{report.size / 1e9:.3f} GB of audio")
    say_faults(CHANGED, report.changes, shown=10)
    say_faults(f"unusable, left out and listed in {output}/faults.tsv", report.faults, shown=10)
    say_summary(report.summary)
    if report.faults:
        raise typer.Exit(1)
