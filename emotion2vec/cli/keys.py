"""Help of a verb that takes a configuration: its keys, below the options."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from typer.core import TyperCommand


def with_keys(home: str, name: str) -> type[TyperCommand]:
    """A command whose `--help` ends in a table of all keys of a configuration, read when it is asked for.

    Args:
        home: module of the configuration, which must be light.
        name: the dataclass in it.
    """

    class Command(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Show the options, then the keys."""
            super().format_help(ctx, formatter)
            _show_keys(getattr(import_module(home), name))

    return Command


def _show_keys(config: type) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from emotion2vec.settings import described

    table = Table(title="Keys", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("key", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    for key, default, meaning in described(config):
        table.add_row(key, escape(default), escape(meaning))
    Console().print(table)
