"""The verb `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    source: Annotated[Path, typer.Argument(help="Run folder of `emotion2vec pretrain`, or JSON file of scores.")],
    output: Annotated[
        Path | None,
        typer.Option(help="Of a run: PNG, PDF or SVG. Of scores: a folder. [default: in the run, or beside the file]"),
    ] = None,
    format: Annotated[str, typer.Option(help="Of figures of scores: pdf, svg or png.")] = "pdf",
) -> None:
    """Draw the course of a pretraining run, or scores of probe, benchmark and finetune as figures for a paper."""
    if source.suffix.lower() == ".json":
        from emotion2vec.report.figures import draw_figures

        for path in draw_figures(source, output, format):
            typer.echo(str(path))
        return
    from emotion2vec.training.plot import plot_run

    typer.echo(str(plot_run(source, output)))
