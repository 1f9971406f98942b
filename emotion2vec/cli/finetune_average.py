"""The verb `finetune average`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.log import say
from emotion2vec.errors import ConfigError


def average(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Model or run folders, or checkpoints of a run, of the same labels."),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the model to be written.")],
    weights: Annotated[str, typer.Option(help="What each model counts, such as 0.3,0.7; by default alike.")] = "",
) -> None:
    """Average the weights of models that were fine-tuned from the same one, such as those of folds or epochs."""
    from emotion2vec.finetune.average import average as run

    run(models, output, _numbers(weights))
    say(f"mean of {len(models)} models: {output}")


def _numbers(text: str) -> list[float]:
    """Numbers of a list with commas.

    Raises:
        ConfigError: something is no number.
    """
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise ConfigError(f"weights is {text!r}, expected numbers with commas between them, such as 0.3,0.7") from error
