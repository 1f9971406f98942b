"""What the verbs share: messages, and shipped configurations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from emotion2vec.cli.log import say, says_json
from emotion2vec.errors import ConfigError
from emotion2vec.stopping import exit_code
from emotion2vec.units import counted

if TYPE_CHECKING:
    from emotion2vec.corpora.summary import Summary
    from emotion2vec.extraction.run import ExtractionReport
    from emotion2vec.training.config import TrainingConfig
    from emotion2vec.training.trainer import FitResult

MODEL_HELP = (
    "Model or run folder of ours, fairseq .pt, FunASR or Hugging Face folder, hf:owner/name, ms:owner/name, or a name: "
    "compact, tiny, base, plus-seed, plus-base, plus-large."
)

SOURCES_HELP = "Audio files, folders, globs, manifests of any supported kind, URLs, or - for stdin."

FALLBACK = ("mps", "xpu")
"""Kinds of device whose lacking operators PyTorch can run on the CPU."""
CHANGED = "found otherwise than they were named"
"""What is said of inputs that were searched for, and the like."""


def find_config(name: str, kind: str = "pretrain") -> Path:
    """The shipped configuration of that name, such as `tiny` or `pretrain/tiny`, or a path as it is."""
    from emotion2vec.assets import asset_folder

    shipped = {file.stem: file for file in sorted((asset_folder("configs") / kind).glob("*.yaml"))}
    path = shipped.get(name.removeprefix(f"{kind}/"), Path(name))
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


def conclude_training(result: FitResult, config: TrainingConfig) -> None:
    """Say how a run ended, and exit with its code unless all went well."""
    if not result.is_main:
        return
    if result.signal is not None:
        say(
            f"stopped after update {result.update} of {config.optim.max_updates} and saved; the same command "
            f"continues from {config.run.dir}",
            event="stopped",
            updates=result.update,
            output=config.run.dir,
        )
        raise typer.Exit(exit_code(result.signal))
    done = counted(result.update, "update")
    say(f"done: {done}, model in {config.run.dir}", event="done", updates=result.update, output=config.run.dir)
    if result.missing:
        count = counted(result.missing, "entry that lists name was", "entries that lists name were")
        say(f"{count} missing or could not be read")
        raise typer.Exit(1)


def say_faults(what: str, faults: Sequence[object], shown: int = 100) -> None:
    """Print how many faults there are, and the first of them; those that say the same are one line."""
    if faults and says_json():
        for fault in faults:
            facts = {name: getattr(fault, name) for name in ("where", "reason", "kind", "text") if hasattr(fault, name)}
            say(str(fault), level="warning", event="changed" if what == CHANGED else "failed", **facts)
    elif faults:
        say(f"{len(faults)} {what}:")
        alike: dict[object, list[object]] = {}
        for fault in faults:
            said = getattr(fault, "reason", None) or (getattr(fault, "kind", fault), getattr(fault, "text", None))
            alike.setdefault(said, []).append(fault)
        groups = list(alike.values())
        for group in groups[:shown]:
            say(f"  {group[0]}" + f" (and {len(group) - 1} more that say the same)" * (len(group) > 1))
        if len(groups) > shown:
            say(f"  and {sum(map(len, groups[shown:]))} more")


def say_summary(summary: Summary) -> None:
    """Print the counts of all inputs."""
    say(str(summary), event="summary", **summary.to_dict())


def conclude(report: ExtractionReport, rest: str) -> NoReturn:
    """Print what was done to inputs and what failed, and exit with the report's code.

    Args:
        report: what became of the inputs.
        rest: what to do about those that a signal kept from being done.
    """
    say_faults(CHANGED, report.changes, shown=10)
    say_faults("failed", report.failed)
    say_summary(report.summary)
    if report.terminated:
        say(f"stopped by SIGTERM; {rest}")
    raise typer.Exit(report.exit_code)
