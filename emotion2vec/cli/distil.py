"""The verb `distil`."""

from __future__ import annotations

from typing import Annotated

import typer

from emotion2vec.cli.dry_run import HELP as DRY
from emotion2vec.cli.dry_run import train
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.shared import allow_fallback, conclude_training, find_config


def distil(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as optim.lr=1e-4.")
    ] = None,
    config: Annotated[
        str,
        typer.Option(help="YAML file, or the name of one that ships with the package: compact, vesper, distilhubert."),
    ] = "compact",
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY)] = False,
) -> None:
    """Distil a small model: teacher=MODEL data.train=FOLDER_OR_MANIFEST run.dir=FOLDER are required.

    The same command continues an interrupted run.
    """
    from emotion2vec.distil.checks import load_config

    settings = load_config(find_config(config, "distil"), overrides or [])
    allow_fallback(settings.run.accelerator)
    if dry_run:
        return train("distil", settings)
    from emotion2vec.distil.run import distil as run

    conclude_training(run(settings, say=say, on_progress=progress_events()), settings)
