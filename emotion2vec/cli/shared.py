"""What the verbs share: options, messages, and shipped configurations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from emotion2vec.errors import ConfigError

MODEL_HELP = (
    "Model or run folder of ours, fairseq .pt, FunASR or Hugging Face folder, hf:owner/name, ms:owner/name, or a name: "
    "tiny, base, plus-seed, plus-base, plus-large."
)

FALLBACK = ("mps", "xpu")
"""Kinds of device whose lacking operators PyTorch can run on the CPU."""
CHANGED = "found otherwise than they were named"
"""What is said of inputs that were searched for, and the like."""

# Options that several verbs share.
Sources = Annotated[
    list[str],
    typer.Argument(help="Audio files, folders, globs, manifests of any supported kind, URLs, or - for stdin."),
]
ListRoot = Annotated[Path | None, typer.Option(help="Where relative paths of a list start.")]
Channel = Annotated[int | None, typer.Option(help="Channel from 0, in place of the mean of all.")]
Segments = Annotated[
    Path | None,
    typer.Option(help="RTTM or Kaldi segments file that cuts the recordings, or vad for their stretches with speech."),
]
AcceptDamaged = Annotated[
    bool, typer.Option("--accept-damaged", help="Take what there is of damaged files, and warn of each.")
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1, mps, xpu, npu, ...; by default a CUDA GPU if there is one.",
        callback=lambda name: allow_fallback(name),
    ),
]
Backend = Annotated[
    str, typer.Option(help="torch, onnx (onnxruntime, on a CPU in fp32), or auto: the one that is faster here.")
]


def find_config(name: str, kind: str = "pretrain") -> Path:
    """The shipped configuration of that name, or a path as it is."""
    from emotion2vec.assets import asset_folder

    shipped = {file.stem: file for file in sorted((asset_folder("configs") / kind).glob("*.yaml"))}
    path = shipped.get(name, Path(name))
    if path == Path(path.stem) and not path.exists():  # neither a folder nor a suffix: meant as a name
        raise ConfigError(f"config is {name!r}, expected a YAML file or one of {', '.join(shipped)}")
    return path


def allow_fallback(device: str | None) -> str | None:
    """Let operators that `mps` or `xpu` lack run on the CPU, with PyTorch's own warning; gives the name back.

    PyTorch reads this from the environment when it is loaded. A program of ours decides it for itself, before that; a
    library must not. A value that is set already stays.
    """
    kind = (device or "").partition(":")[0]
    if kind in FALLBACK:
        os.environ.setdefault(f"PYTORCH_ENABLE_{kind.upper()}_FALLBACK", "1")
    return device


def say(text: str) -> None:
    """Print a message to stderr."""
    typer.echo(text, err=True)


def say_faults(what: str, faults: Sequence[object], shown: int = 100) -> None:
    """Print how many faults there are, and the first of them."""
    if faults:
        say(f"{len(faults)} {what}:")
        for fault in faults[:shown]:
            say(f"  {fault}")
        if len(faults) > shown:
            say(f"  and {len(faults) - shown} more")
