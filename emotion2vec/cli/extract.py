"""The verb `extract`: frozen features of audio, on disk."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.cli import dry_run
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.options import takes
from emotion2vec.cli.shared import MODEL_HELP, SOURCES_HELP, allow_fallback, conclude
from emotion2vec.extraction.options import ExtractOptions
from emotion2vec.settings import option
from emotion2vec.units import counted, duration


@dataclass(kw_only=True)
class Arguments:
    """What the verb takes."""

    source: list[str] = option(MISSING, SOURCES_HELP, argument=True)
    model: str = option(DEFAULT_MODEL, MODEL_HELP)
    output: Path = option(Path("features"), "Folder for <relative path>.npy, or a .npz, .csv or .xlsx file.")
    options: ExtractOptions = field(default_factory=ExtractOptions)
    dry_run: bool = option(False, dry_run.HELP)


@takes(Arguments, {"device": allow_fallback})
def extract(arguments: Arguments) -> None:
    """Extract frozen features from audio. Failures are listed in the output's failed.jsonl."""
    if arguments.dry_run:
        return dry_run.extract(arguments.source, arguments.model, arguments.output, arguments.options)
    from emotion2vec.extraction.engine import run

    options = arguments.options
    report = run(
        arguments.source, arguments.model, arguments.output, options, progress=True, on_progress=progress_events()
    )
    skipped = f", {report.redone} of them anew, as their audio is not what it was" if report.redone else ""
    skipped += f", {report.skipped} were there already" if report.skipped else ""
    computed = f" in {report.precision}" if report.precision != options.executor.precision else ""
    computed += " by onnxruntime" if report.backend == "onnx" else ""
    done = counted(report.written, "utterance")
    facts: dict[str, Any] = {"written": report.written, "seconds": report.seconds, "output": arguments.output}
    say(f"{done} ({duration(report.seconds)}) written to {arguments.output}{computed}{skipped}", event="done", **facts)
    conclude(report, "the same command with --resume goes on")
