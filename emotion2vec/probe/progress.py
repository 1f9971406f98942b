"""A progress bar on stderr, or none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from emotion2vec.progress import Progress as Standing
from emotion2vec.progress import ProgressCallback
from emotion2vec.units import ESTIMATED_FROM

Item = TypeVar("Item")


@contextmanager
def progress_counter(
    title: str, total: int, shown: bool, on_progress: ProgressCallback | None = None
) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a bar on by so many items, and calls a program back.

    The bar is silent when none is wanted, or stderr is no terminal.
    """
    done, started = 0, time.monotonic()

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None and count:
            on_progress(Standing(done, total, 0, 0.0, time.monotonic() - started))

    if not (shown and sys.stderr.isatty()):
        yield tell
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, speed_estimate_period=ESTIMATED_FROM) as progress:
        task = progress.add_task(title, total=total)

        def move(count: int) -> None:
            progress.advance(task, count)
            tell(count)

        yield move


def track(
    items: Iterable[Item], title: str, total: int, shown: bool, on_progress: ProgressCallback | None = None
) -> Iterator[Item]:
    """Iterate over items behind a progress bar when it is wanted."""
    with progress_counter(title, total, shown, on_progress) as count:
        for item in items:
            yield item
            count(1)
