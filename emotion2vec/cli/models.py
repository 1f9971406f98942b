"""Verbs for checkpoints: `info`, `convert`, `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emotion2vec.cli.shared import MODEL_HELP, say


def info(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
) -> None:
    """Show what a checkpoint is: format, dimensions, parameters by part, labels, licence, size and checksum."""
    from emotion2vec.checkpoint.info import describe_model

    _print_facts(describe_model(model))


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Any model that we read: a path, or a name.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A .pt file for fairseq, a new folder otherwise.")],
    to: Annotated[str, typer.Option(help="native, fairseq, funasr, huggingface or onnx-ready.")],
    use: Annotated[str, typer.Option(help="Whose weights: student, or teacher where the checkpoint has one.")] = (
        "student"
    ),
) -> None:
    """Convert a checkpoint for another tool; weights stay the same, bit for bit."""
    from emotion2vec.exporting.convert import convert as run

    done = run(source, output, to=to, use=use)
    for note in done.notes:
        say(f"note: {note}")
    say(f"{done.read} -> {done.written}: {done.output}")


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="New file that ends in .onnx or .pt2, or a folder for it.")
    ],
    format: Annotated[str, typer.Option(help="onnx or torch-export.")] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Weights in int8, for ONNX: a third of the size, faster, less exact.")
    ] = False,
) -> None:
    """Write the path from 16 kHz samples to features and scores as one graph, which runs without this package."""
    from emotion2vec.exporting.export import export as run

    done = run(model, output, format=format, int8=int8)
    say(
        f"{done.output}: its outputs are within {done.difference:.1e} of the model's, the lowest cosine is "
        f"{done.cosine:.6f}"
    )


def _print_facts(facts: dict[str, Any], indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{name}")
            _print_facts(value, indent + "  ")
        else:
            shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            typer.echo(f"{indent}{name:<20} {shown}")
