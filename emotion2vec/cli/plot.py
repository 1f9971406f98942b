"""The verb `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    run: Annotated[Path, typer.Argument(help="Run folder of `emotion2vec pretrain`.")],
    output: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG. [default: RUN/metrics.png]")] = None,
) -> None:
    """Draw losses, deviations, ranks, probes and speed of a pretraining run."""
    from emotion2vec.training.plot import plot_run

    typer.echo(str(plot_run(run, output)))
