"""How far a preparation is: a progress bar on the terminal."""

from __future__ import annotations

import sys


class PrepareProgress:
    """Shows utterances, hours of audio and faults on stderr; silent where that is no terminal."""

    def __init__(self, total: int, shown: bool) -> None:
        self.bar = None
        if not (shown and sys.stderr.isatty()):
            return
        from rich import progress
        from rich.console import Console

        self.bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("utterances  {task.fields[hours]:.2f} h"),
            progress.TextColumn("[red]{task.fields[faults]}"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("prepare", total=total, hours=0.0, faults="")
        self.bar.start()

    def show(self, processed: int, seconds: float, faults: int) -> None:
        """Show how many utterances were looked at, and the audio and the faults of the shards that are complete."""
        if self.bar is not None:
            shown = f"{faults} unusable" if faults else ""
            self.bar.update(self.task, completed=processed, hours=seconds / 3600, faults=shown)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.stop()
