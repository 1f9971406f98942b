"""The verb `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.shared import say_faults


def plot(
    source: Annotated[
        Path,
        typer.Argument(
            help="Table of `emotion2vec predict`, or a folder of such; JSON file of scores; run folder of pretraining."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Of a table: .html, .pdf, .svg or .png, or a folder for one of each recording. Of scores: a folder. "
            "Of a run: PNG, PDF or SVG. [default: beside the table or the file, or in the run]"
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="Of files in a folder: pdf, svg or png, of recordings also html. [default: pdf, or png]"),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(help="Of figures of scores, in inches: 3.3 is a column of a paper, 6.9 its page. [default: 3.3]"),
    ] = None,
) -> None:
    """Draw emotions over time of recordings, scores as figures for a paper, or the course of a pretraining run."""
    if source.suffix.lower() == ".json":
        from emotion2vec.report.figures import WIDTH, draw_figures

        for path in draw_figures(source, output, format or "pdf", WIDTH if width is None else width):
            typer.echo(str(path))
        return
    if not _holds_results(source):
        from emotion2vec.training.plot import plot_run

        typer.echo(str(plot_run(source, output)))
        return
    from emotion2vec.extraction.results.timelines.tables import timelines

    found = timelines(source)
    named = source.resolve() if source.is_dir() else source
    name = named.name if source.is_dir() else named.stem
    beside = named.with_name(f"{name}.{format or 'html'}")
    for path in found.save(output or beside, format):
        typer.echo(str(path))
    if found.faults:
        say_faults("rows that could not be drawn", found.faults)
        raise typer.Exit(1)


def _holds_results(source: Path) -> bool:
    """Whether a path is a table of results, or a folder with one that is no run."""
    from emotion2vec.extraction.results.timelines.reading import is_table

    if not source.is_dir():
        return is_table(source)
    from emotion2vec.training.run_folder import METRICS

    return not (source / METRICS).is_file() and any(is_table(one) for one in source.iterdir())
