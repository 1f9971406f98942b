"""A progress bar on stderr, or none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], title: str, total: int, shown: bool) -> Iterable[Item]:
    """Iterate over items behind a progress bar when it is wanted."""
    if not shown:
        return items
    from rich.console import Console
    from rich.progress import track as rich_track

    return rich_track(items, description=title, total=total, console=Console(stderr=True))
