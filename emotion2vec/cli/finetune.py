"""The verb `finetune`."""

from __future__ import annotations

from typing import Annotated

import typer

from emotion2vec.cli.shared import allow_fallback, conclude_training, find_config, say


def finetune(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as optim.encoder_lr=1e-5.")
    ] = None,
    config: Annotated[str, typer.Option(help="YAML file, or the name of one that ships: classify.")] = "classify",
) -> None:
    """Adapt a model to your labels: data.table=FILE (or data.corpora) and run.dir=FOLDER are required.

    The run folder is then a model for predict. The same command continues an interrupted run.
    """
    from emotion2vec.finetune.config import load_config

    settings = load_config(find_config(config, "finetune"), overrides or [])
    allow_fallback(settings.run.accelerator)
    from emotion2vec.finetune.run import finetune as run

    conclude_training(run(settings, say=say), settings)
