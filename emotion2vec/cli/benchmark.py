"""The verb `benchmark`: many features on many corpora, and one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.log import say
from emotion2vec.cli.shared import FALLBACK, allow_fallback, find_config


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

    for kind in FALLBACK:  # the plan says which, and what reads it loads torch
        allow_fallback(kind)
    from emotion2vec.probe.benchmark.loading import load_plan
    from emotion2vec.probe.benchmark.run import run_benchmark
    from emotion2vec.probe.stopping import leaving_at_once
    from emotion2vec.report.page import write_report

    plan = load_plan(find_config(config, "benchmark"), overrides or [])
    command = shlex.join(["emotion2vec", "benchmark", "--config", config, *(overrides or [])])
    finished = Path(plan.output) / "results"
    with leaving_at_once(
        lambda: f"{len(list(finished.glob('*.json')))} results are kept in {finished}; the same command goes on"
    ):
        result = run_benchmark(plan, lambda result: write_report(plan, result, command), progress=True)
    for failure in result.failures:
        say(f"failed: {failure.corpus} {failure.feature}: {failure.reason}")
    if result.incomplete:
        say(f"incomplete: {result.incomplete} results, as clips could not be used; the report marks them")
    say(f"{len(result.combinations)} results in {Path(plan.output) / 'report.html'}")
    say(str(result.summary))
    raise typer.Exit(result.exit_code)
