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
            help="YAML file, or the name of a shipped one: acted, iemocap, song, sentiment, dimensions, languages, "
            "conversation, or systems, which compares whole systems on one corpus."
        ),
    ] = "acted",
) -> None:
    """Probe many features on many corpora, and write one report; the same command goes on after an interrupt."""
    import shlex

    command = shlex.join(["emotion2vec", "benchmark", "--config", config, *(overrides or [])])
    path = find_config(config, "systems" if config == "systems" else "benchmark")
    for kind in FALLBACK:  # the plan says which, and what reads it loads torch
        allow_fallback(kind)
    from emotion2vec.systems.plan import is_systems

    if is_systems(path):
        return _compare_systems(path, overrides or [], command)
    from emotion2vec.probe.benchmark.loading import load_plan
    from emotion2vec.probe.benchmark.run import run_benchmark
    from emotion2vec.probe.stopping import leaving_at_once
    from emotion2vec.report.page import write_report

    plan = load_plan(path, overrides or [])
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


def _compare_systems(path: Path, overrides: list[str], command: str) -> None:
    """Run whole systems on the same folds, and show their table."""
    from emotion2vec.stopping import exit_code
    from emotion2vec.systems.plan import load_systems
    from emotion2vec.systems.run import Comparison, run_systems
    from emotion2vec.systems.table import write_comparison

    plan = load_systems(path, overrides)

    def report(found: Comparison) -> str:
        return write_comparison(plan, found, command)

    found = run_systems(plan, lambda name: find_config(name, "finetune"), report, say)
    say(report(found))
    for title, reason in found.failures.items():
        say(f"failed: {title}: {reason}")
    say(f"{len(found.done)} of {len(plan.systems)} systems in {Path(plan.output) / 'report.html'}")
    if found.signal:
        raise typer.Exit(exit_code(found.signal))
    raise typer.Exit(0 if not found.failures else 1 if found.done else 2)
