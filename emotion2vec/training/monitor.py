"""What a user sees of a run: `metrics.jsonl`, and a progress bar or lines of text."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emotion2vec.config import LogConfig


class Monitor:
    """Writes `metrics.jsonl` and shows progress: a bar on a terminal, a line now and then elsewhere.

    Only the main process speaks; the monitors of the others are silent.
    """

    def __init__(self, metrics_file: Path, config: LogConfig, first: int, last: int, *, is_main: bool):
        self.last = last
        self.is_main = is_main
        self.console = Console(stderr=True)
        self._file: IO[str] | None = metrics_file.open("a", encoding="utf-8") if is_main else None
        self._next_line = time.monotonic()
        self._bar: Progress | None = None
        if is_main and config.progress and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("pretrain"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("pretrain", total=last, completed=first - 1, status="")
            self._bar.start()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar and close the file."""
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            self._file.close()

    def log(self, update: int, metrics: Mapping[str, float]) -> None:
        """Record one update's numbers; a disk that cannot take them is named and does not stop the run."""
        if self._file is None:
            return
        line = {"update": update} | {name: _short(value) for name, value in metrics.items()}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            self.say(f"update {update}: its metrics could not be written: {error}")
        status = _status(metrics)
        if self._bar is not None:
            self._bar.update(self._task, completed=update, status=status)
        elif time.monotonic() >= self._next_line or update == self.last:
            self.say(f"update {update}/{self.last}  {status}")
            self._next_line = time.monotonic() + 10.0

    def say(self, text: str) -> None:
        """Show a line of text to the user, above the bar where there is one."""
        if self.is_main:
            (self._bar.console if self._bar is not None else self.console).print(
                text, highlight=False, markup=False, soft_wrap=True
            )


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _status(metrics: Mapping[str, float]) -> str:
    parts = [f"loss {metrics['loss']:.3f}", f"frame {metrics['frame_loss']:.3f}"]
    if "utterance_loss" in metrics:
        parts.append(f"utterance {metrics['utterance_loss']:.3f}")
    parts.append(f"explained {metrics['explained_share']:.2f}")
    parts.append(f"{metrics['audio_seconds_per_second']:.0f} s audio/s")
    return "  ".join(parts)
