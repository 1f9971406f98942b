"""What can be wrong with the options of a job, found before anything heavy is imported."""

from __future__ import annotations

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.choices import FeatureChoice
from emotion2vec.extraction.chunks import Chunking
from emotion2vec.extraction.sources import parse_shard
from emotion2vec.extraction.writers import FORMATS

PRECISIONS = ("fp32", "bf16", "fp16")
"""Compute precisions; `auto` stands for what the hardware is best at."""


def extraction_faults(
    choice: FeatureChoice,
    *,
    format: str,
    precision: str,
    chunk_seconds: float,
    chunk_overlap: float,
    batch_seconds: float | None,
    workers: int | None,
    shard: str | None,
) -> list[str]:
    """What is wrong with the options of `extract`, whatever the model and the sources."""
    faults = option_faults(precision=precision, batch_seconds=batch_seconds, workers=workers) + choice.faults()
    if format not in FORMATS:
        faults.append(f"format is {format!r}, expected {', '.join(FORMATS)}")
    for check in (lambda: Chunking(chunk_seconds, chunk_overlap), lambda: parse_shard(shard)):
        try:
            check()
        except ConfigError as error:
            faults.append(str(error))
    return faults


def option_faults(*, precision: str, batch_seconds: float | None, workers: int | None) -> list[str]:
    """What is wrong with options that every extraction has."""
    faults = []
    if precision not in ("auto", *PRECISIONS):
        faults.append(f"precision is {precision!r}, expected auto, {', '.join(PRECISIONS)}")
    if batch_seconds is not None and not batch_seconds > 0:
        faults.append(f"batch_seconds is {batch_seconds!r}, expected a positive number of seconds")
    if workers is not None and workers < 1:
        faults.append(f"workers is {workers!r}, expected 1 or more")
    return faults


def check_options(faults: list[str]) -> None:
    """Raise everything that is wrong at once.

    Raises:
        ConfigError: there is a fault.
    """
    if faults:
        raise ConfigError("; ".join(faults))
