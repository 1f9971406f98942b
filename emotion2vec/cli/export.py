"""The verb `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.log import say
from emotion2vec.cli.shared import MODEL_HELP


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
    if done.left:
        say(f"note: left out, as the graph holds the main head alone: the heads of {', '.join(done.left)}")
    say(
        f"{done.output}: its outputs are within {done.difference:.1e} of the model's, the lowest cosine is "
        f"{done.cosine:.6f}"
    )
