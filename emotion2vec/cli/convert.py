"""The verb `convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.cli.log import say


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Any model that we read: a path, or a name.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A .pt file for fairseq, a new folder otherwise.")],
    to: Annotated[str, typer.Option(help="native, fairseq, funasr, huggingface or onnx-ready.")] = "native",
    use: Annotated[str, typer.Option(help="Whose weights: student, or teacher where the checkpoint has one.")] = (
        "student"
    ),
    keep_layers: Annotated[int | None, typer.Option(help="Keep only so many blocks, from the first on.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Round weights to fp32, fp16 or bf16.")] = None,
) -> None:
    """Convert a checkpoint for another tool; weights stay the same, bit for bit, unless a dtype is given."""
    from emotion2vec.exporting.convert import convert as run

    done = run(source, output, to=to, use=use, keep_layers=keep_layers, dtype=dtype)
    for note in done.notes:
        say(f"note: {note}")
    say(f"{done.read} -> {done.written}: {done.output}")
