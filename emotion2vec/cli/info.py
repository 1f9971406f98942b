"""The verb `info`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.cli.shared import MODEL_HELP

if TYPE_CHECKING:
    from emotion2vec.checkpoint.info import ModelFacts


def info(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)] = DEFAULT_MODEL,
) -> None:
    """Show what a checkpoint is: format, dimensions, parameters by part, labels, licence, size and checksum."""
    from emotion2vec.checkpoint.info import describe_model

    _print(_shown(describe_model(model)))


def _shown(facts: ModelFacts) -> dict[str, Any]:
    """Facts by name, without what a checkpoint has not, lists in one line, and notes one by one."""
    shown = {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in asdict(facts).items()}
    del shown["notes"]
    shown = {name: value for name, value in shown.items() if value not in (None, "", {})}
    return shown | {f"note {number}": note for number, note in enumerate(facts.notes, 1)}


def _print(facts: dict[str, Any], indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            typer.echo(f"{indent}{name:<20} {shown}")
