"""Help of a verb that takes a configuration: its keys, below the options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand


def with_keys(
    home: str,
    name: str,
    verbs: Callable[[], dict[str, Any]] = dict,
    further: Mapping[str, tuple[str, str]] | None = None,
) -> type[TyperCommand]:
    """A command whose `--help` ends in a table of all keys of a configuration, read when it is asked for.

    Args:
        home: module of the configuration, which must be light.
        name: the dataclass in it.
        further: configurations that the command takes too, module and dataclass, by the titles of their own keys.
        verbs: commands that a first word of the command line calls in place of this one, by that word.
    """

    class Command(TyperCommand):
        def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
            """Read the command line, or have another command read it."""
            other = verbs().get(args[0]) if args else None
            if other is not None:
                return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
            return super().make_context(info_name, args, parent, **extra)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Show the options, then the keys."""
            super().format_help(ctx, formatter)
            _show_verbs(ctx.command_path, verbs())
            shown = _show_keys(getattr(import_module(home), name), "Keys")
            for title, (module, other) in (further or {}).items():
                shown |= _show_keys(getattr(import_module(module), other), title, shown)

    return Command


def commands(**functions: tuple[Callable[..., None], type[TyperCommand] | None]) -> dict[str, Any]:
    """Commands of functions, with their classes, by name."""
    app = typer.Typer(add_completion=False)
    for name, (function, kind) in functions.items():
        app.command(name, cls=kind)(function)
    return dict(typer.main.get_group(app).commands)


def _show_verbs(path: str, verbs: dict[str, Any]) -> None:
    from rich.console import Console

    for name, command in verbs.items():
        first = (command.help or "").partition("\n")[0]
        Console().print(f"{path} {name}: {first}", markup=False, highlight=False)


def _show_keys(config: type, title: str, shown: Collection[str] = ()) -> set[str]:
    """Show the keys of a configuration that have not been shown; all of them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from emotion2vec.settings import described

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("key", "default", "meaning"):
        table.add_column(column, overflow="fold", no_wrap=column == "key")
    keys = [*described(config)]
    for key, default, meaning in keys:
        if key not in shown:
            table.add_row(key, escape(default), escape(meaning))
    Console().print(table)
    return {key for key, _, _ in keys}
