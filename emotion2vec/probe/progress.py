"""A progress bar on stderr, or none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from emotion2vec.units import ESTIMATED_FROM

Item = TypeVar("Item")


@contextmanager
def progress_counter(title: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a bar on by so many items; silent when none is wanted, or stderr is no terminal."""
    if not (shown and sys.stderr.isatty()):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, speed_estimate_period=ESTIMATED_FROM) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


def track(items: Iterable[Item], title: str, total: int, shown: bool) -> Iterator[Item]:
    """Iterate over items behind a progress bar when it is wanted."""
    with progress_counter(title, total, shown) as count:
        for item in items:
            yield item
            count(1)
