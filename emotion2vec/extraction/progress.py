"""How far an extraction is: a snapshot for callbacks, and a progress bar on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emotion2vec.units import ESTIMATED_FROM, digits, duration


@dataclass(frozen=True)
class Progress:
    """Where an extraction stands.

    Attributes:
        done: utterances that are finished, failed ones included.
        total: utterances to do.
        failed: utterances that failed.
        seconds: audio extracted so far, in s.
        elapsed: time since the first utterance was asked for, in s.
    """

    done: int
    total: int
    failed: int
    seconds: float
    elapsed: float

    @property
    def speed(self) -> float:
        """Seconds of audio extracted per second: times real time."""
        return self.seconds / self.elapsed if self.elapsed > 0 else 0.0


ProgressCallback = Callable[[Progress], None]


@contextmanager
def progress_bar(total: int) -> Iterator[ProgressCallback]:
    """Show files done, their audio, times real time and time left on stderr; silent when that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    bar = rich_progress.Progress(
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("files  {task.fields[audio]}"),
        rich_progress.TextColumn("[red]{task.fields[failed]}"),
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=ESTIMATED_FROM,
    )
    with bar:
        task = bar.add_task("extract", total=total, audio="", failed="")

        def show(progress: Progress) -> None:
            failed = f"{progress.failed} failed" if progress.failed else ""
            audio = f"{duration(progress.seconds)}  {digits(progress.speed)}× real time" if progress.seconds else ""
            bar.update(task, completed=progress.done, audio=audio, failed=failed)

        yield show
