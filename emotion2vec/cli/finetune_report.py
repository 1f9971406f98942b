"""The verb `finetune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="Run folder of `emotion2vec finetune`, finished or not.")]) -> None:
    """Write RUN/report.html anew: settings, data, curves, and all scores that are there."""
    from emotion2vec.report.run import write_run_report

    typer.echo(str(write_run_report(run)))
