"""What a user sees of a run: `metrics.jsonl`, and a progress bar or lines of text."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emotion2vec.lines import Lines
from emotion2vec.progress import Progress as Standing
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.config import LogConfig
from emotion2vec.training.metrics import short
from emotion2vec.units import ESTIMATED_FROM, digits

SPEED_SECONDS = 30.0
"""Time that the speed shown is a mean over, in s, or the last update's where that took longer."""

LINE_SECONDS, SILENT_SECONDS = 10.0, 30.0
"""Without a terminal: least time between two lines with losses, in s, and the time after which one without will do."""


class Monitor:
    """Writes `metrics.jsonl` and shows progress: a bar on a terminal, a line now and then elsewhere.

    Only the main process speaks; the monitors of the others are silent.
    """

    def __init__(
        self,
        metrics_file: Path,
        config: LogConfig,
        first: int,
        last: int,
        *,
        is_main: bool,
        verb: str,
        shown: Mapping[str, str],
        on_progress: ProgressCallback | None = None,
    ):
        """Open the file, and show the bar where there is a terminal.

        Args:
            metrics_file: is appended to.
            config: the section of the configuration.
            first: update that comes next.
            last: update that ends the run.
            is_main: whether this process speaks.
            verb: what is done, for the bar.
            shown: metrics that are shown, each with its format.
            on_progress: called after every update in the main process; what it raises is kept in `raised`.
        """
        self.raised: BaseException | None = None
        self._on_progress, self._skipped, self._metrics = on_progress, 0, dict[str, float]()
        self._started = time.monotonic()
        self.last = last
        self.shown = shown
        self.is_main = is_main
        self.console = Console(stderr=True)
        self._file = Lines(metrics_file) if is_main else None
        self._last_line = self._last_losses = -math.inf
        self._losses = ""
        self._logged = 0
        self._audio = 0.0
        self._recent = deque([(time.monotonic(), 0.0)])
        self._bar: Progress | None = None
        if is_main and config.progress and self.console.is_terminal:
            self._bar = Progress(
                TextColumn(verb),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
                speed_estimate_period=ESTIMATED_FROM,
            )
            self._task = self._bar.add_task(verb, total=last, completed=first - 1, status="")
            self._bar.start()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar and close the file; a disk that cannot take it is named."""
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            try:
                self._file.close()
            except OSError as failed:
                self.say(f"metrics could not be written: {failed}")

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Record one update's numbers; a disk that cannot take them is named and does not stop the run."""
        if self._file is None:
            return
        self._metrics = dict(metrics)
        line = {"update": update} | {name: _number(value) for name, value in metrics.items()}
        try:
            self._file.add(json.dumps(line) + "\n")
        except OSError as error:
            self.say(f"update {update}: its metrics could not be written: {error}")
        self._losses = "  ".join(form.format(metrics[name]) for name, form in self.shown.items() if name in metrics)
        self._logged = update

    def advance(self, update: int, seconds: float) -> None:
        """Show that an update is done, after it has been logged if it is.

        Args:
            update: its number.
            seconds: audio that it held, in s; the speed shown is that of the last half minute.
        """
        if not self.is_main:
            return
        now = time.monotonic()
        self._audio += seconds
        self._tell(update, now - self._started)
        self._recent.append((now, self._audio))
        while len(self._recent) > 2 and self._recent[1][0] < now - SPEED_SECONDS:
            self._recent.popleft()
        begun, before = self._recent[0]
        speed = f"{digits((self._audio - before) / max(now - begun, 1e-6))} s audio/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=update, status=f"{self._losses}  {speed}".strip())
            return
        if self._logged == update and (now >= self._last_losses + LINE_SECONDS or update == self.last):
            self.say(f"update {update}/{self.last}  {self._losses}  {speed}")
            self._last_losses = self._last_line = now
        elif now >= self._last_line + SILENT_SECONDS:
            self.say(f"update {update}/{self.last}  {speed}")
            self._last_line = now

    def _tell(self, update: int, elapsed: float) -> None:
        """Call back, and keep what that raises until the run has saved what it did."""
        if self._on_progress is not None and self.raised is None:
            try:
                self._on_progress(Standing(update, self.last, self._skipped, self._audio, elapsed, self._metrics))
            except BaseException as error:
                self.raised = error

    def skip(self, faults: Sequence[object]) -> None:
        """Say which utterances of an update could not be used."""
        self._skipped += len(faults)
        for fault in faults:
            self.say(f"skipped: {fault}")

    def end(self, update: int, reason: str) -> None:
        """Say why a run ends with an update that is not the last one."""
        if update < self.last:
            self.say(f"ended after update {update} of {self.last}: {reason}")

    def say(self, text: str) -> None:
        """Show a line of text to the user, above the bar where there is one."""
        if self.is_main:
            (self._bar.console if self._bar is not None else self.console).print(
                text, highlight=False, markup=False, soft_wrap=True
            )


def _number(value: float) -> float | None:
    return short(value) if math.isfinite(value) else None
