"""The verb `pretrain`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from emotion2vec.cli.dry_run import HELP as DRY
from emotion2vec.cli.dry_run import train
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.shared import allow_fallback, conclude_training, find_config

if TYPE_CHECKING:
    from emotion2vec.pretrain.config import PretrainingConfig


def pretrain(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as optim.lr=1e-4.")
    ] = None,
    config: Annotated[
        str,
        typer.Option(help="YAML file, or the name of one that ships: tiny, small, base, large, whisper, clusters."),
    ] = "base",
    dry_run: Annotated[bool, typer.Option("--dry-run", help=DRY)] = False,
) -> None:
    """Pretrain on unlabeled speech: data.train=FOLDER_OR_MANIFEST run.dir=FOLDER are required.

    The same command continues an interrupted run.
    """
    from emotion2vec.clusters.config import load_config

    settings: PretrainingConfig = load_config(find_config(config), overrides or [])
    allow_fallback(settings.run.accelerator)
    home = {"emotion2vec": "pretrain", "clusters": "clusters"}[settings.objective]
    if dry_run:
        return train("pretrain", settings, home)
    run = import_module(f"emotion2vec.{home}.run").pretrain
    conclude_training(run(settings, say=say, on_progress=progress_events()), settings)
