"""The verb `probe`: small heads on frozen features, scored."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from emotion2vec.cli import dry_run
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.options import takes
from emotion2vec.cli.shared import CHANGED, allow_fallback, say_faults, say_summary
from emotion2vec.probe.options import ProbeOptions
from emotion2vec.settings import option


@dataclass(kw_only=True)
class Arguments:
    """What the verb takes."""

    options: ProbeOptions
    dry_run: bool = option(False, dry_run.HELP)


@takes(Arguments, {"device": allow_fallback})
def probe(arguments: Arguments) -> None:
    """Train small heads on frozen features and score them on held-out speakers."""
    options = arguments.options
    if arguments.dry_run:
        return dry_run.probe(options)
    from dataclasses import replace

    from emotion2vec.probe.run import run_probe
    from emotion2vec.probe.stopping import leaving_at_once
    from emotion2vec.report.tables import show

    kept = "nothing is kept; --cache DIR would keep features"
    if options.cache:
        kept = f"features are kept in {options.cache}"
    with leaving_at_once(lambda: kept):
        result = run_probe(replace(options, progress=True, on_progress=progress_events()))
    show(result)
    if options.save_model is not None:
        say(f"model: emotion2vec predict CLIP... --model {options.save_model}")
    say_faults(CHANGED, result.about.changes, shown=10)
    if result.about.left_out:
        say("these scores are incomplete:")
        say_faults("clips could not be used", result.about.left_out)
    say_summary(result.about.summary)
    if result.about.left_out:
        raise typer.Exit(1)
