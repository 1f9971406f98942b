"""The verb `pretrain`."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from emotion2vec.cli.shared import allow_fallback, find_config, say

PREEMPTED = 75
"""Exit code of a pretraining run that SIGTERM ended after it was saved: EX_TEMPFAIL of sysexits.h, "try again"."""


def pretrain(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as optim.lr=1e-4.")
    ] = None,
    config: Annotated[
        str, typer.Option(help="YAML file, or the name of one that ships with the package: tiny, small, base, large.")
    ] = "base",
) -> None:
    """Pretrain on unlabeled speech: data.train=FOLDER_OR_MANIFEST run.dir=FOLDER are required.

    The same command continues an interrupted run.
    """
    from emotion2vec.pretrain.config import load_config

    settings = load_config(find_config(config), overrides or [])
    allow_fallback(settings.run.accelerator)
    from emotion2vec.pretrain.run import pretrain as run

    result = run(settings, say=say)
    if not result.is_main:
        return
    if result.signal is not None:
        say(
            f"stopped after update {result.update} of {settings.optim.max_updates} and saved; the same command "
            f"continues from {settings.run.dir}"
        )
        raise typer.Exit(PREEMPTED if result.signal == signal.SIGTERM else 128 + result.signal)
    say(f"done: {result.update} updates, model in {settings.run.dir}")
    if result.missing:
        say(f"{result.missing} entries that lists name were missing or could not be read")
        raise typer.Exit(1)
