"""How far a preparation is: a progress bar on the terminal."""

from __future__ import annotations

import sys
import time

from emotion2vec.progress import Progress, ProgressCallback
from emotion2vec.units import ESTIMATED_FROM, duration


class PrepareProgress:
    """Shows utterances, their audio and faults on stderr, where that is a terminal, and calls a program back."""

    def __init__(self, total: int, shown: bool, on_progress: ProgressCallback | None = None) -> None:
        self.bar = None
        self._total, self._on_progress, self._started = total, on_progress, time.monotonic()
        if not (shown and sys.stderr.isatty()):
            return
        from rich import progress
        from rich.console import Console

        self.bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("utterances  {task.fields[audio]}"),
            progress.TextColumn("[red]{task.fields[faults]}"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            speed_estimate_period=ESTIMATED_FROM,
        )
        self.task = self.bar.add_task("prepare", total=total, audio="", faults="")
        self.bar.start()

    def show(self, processed: int, seconds: float, faults: int) -> None:
        """Show how many utterances were looked at, and the audio and the faults of the shards that are complete."""
        if self._on_progress is not None:
            elapsed = time.monotonic() - self._started
            self._on_progress(Progress(processed, self._total, faults, seconds, elapsed))
        if self.bar is not None:
            shown = f"{faults} unusable" if faults else ""
            self.bar.update(self.task, completed=processed, audio=duration(seconds), faults=shown)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.stop()
