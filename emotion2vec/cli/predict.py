"""The verb `predict`: labels and probabilities of audio."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.cli import dry_run
from emotion2vec.cli.log import progress_events, say
from emotion2vec.cli.options import takes
from emotion2vec.cli.shared import MODEL_HELP, SOURCES_HELP, allow_fallback, conclude
from emotion2vec.extraction.options import PredictOptions
from emotion2vec.settings import option
from emotion2vec.units import counted, duration


@dataclass(kw_only=True)
class Arguments:
    """What the verb takes."""

    source: list[str] = option(MISSING, SOURCES_HELP, argument=True)
    model: tuple[str, ...] = option((DEFAULT_MODEL,), f"With a head; of several, the mean. {MODEL_HELP}")
    output: Path | None = option(None, "Table: .csv, .tsv, .xlsx, .parquet or .jsonl; by default JSON lines on stdout.")
    options: PredictOptions = field(default_factory=PredictOptions)
    dry_run: bool = option(False, dry_run.HELP)


@takes(Arguments, {"device": allow_fallback})
def predict(arguments: Arguments) -> None:
    """Label audio with a model that has a head: probabilities per utterance, or per window over time."""
    if arguments.dry_run:
        return dry_run.predict(arguments.source, arguments.model, arguments.output, arguments.options)
    from emotion2vec.extraction.predict import run

    report = run(
        arguments.source,
        arguments.model,
        arguments.output,
        arguments.options,
        progress=True,
        on_progress=progress_events(),
    )
    computed = " by onnxruntime" if report.backend == "onnx" else ""
    done = counted(report.written, "utterance")
    facts: dict[str, Any] = {"written": report.written, "seconds": report.seconds, "output": arguments.output}
    say(f"{done} ({duration(report.seconds)}) labelled{computed}", event="done", **facts)
    conclude(report, "the rows of what was heard are complete")
