"""How far an extraction is: a progress bar on the terminal, a callback, or both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from emotion2vec.progress import Progress, ProgressCallback
from emotion2vec.units import ESTIMATED_FROM, digits, duration


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


@contextmanager
def shown_progress(total: int, bar: bool, on_progress: ProgressCallback | None) -> Iterator[ProgressCallback | None]:
    """What to call after each of so many items: the bar where it is wanted, and what a program gave."""
    with progress_bar(total) if bar else nullcontext() as show:
        calls = [call for call in (show, on_progress) if call is not None]

        def both(progress: Progress) -> None:
            for call in calls:
                call(progress)

        yield both if calls else None
