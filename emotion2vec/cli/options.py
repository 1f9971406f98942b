"""Dataclasses of options as commands: every field is an option, and its help text is what `--help` shows."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

Callback = Callable[[Any], Any]


def takes(options: type, callbacks: dict[str, Callback] | None = None) -> Callable[[Callable[[Any], None]], Any]:
    """Make a command of a function that takes one dataclass of options.

    Args:
        options: the dataclass; fields that are dataclasses themselves give their fields, so that no name may be in two.
            A field's metadata (`emotion2vec.settings.option`) says its help text, its flags where they are others
            than its name, and whether it is a positional argument. Fields without a help text are no
            options.
        callbacks: called with an option's value when it is read, by the field's name.

    Returns:
        A decorator; Typer reads the command that it gives like a function with a parameter for every field.
    """

    def decorate(function: Callable[[Any], None]) -> Any:
        def command(**values: Any) -> None:
            function(_filled(options, values))

        parameters = [_parameter(*leaf, (callbacks or {}).get(leaf[0].name)) for leaf in _leaves(options)]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__module__ = function.__module__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _leaves(options: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Fields that are options, with their types, those of nested dataclasses in their place."""
    hints = get_type_hints(options)
    for item in dataclasses.fields(options):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from _leaves(hints[item.name])
        elif item.metadata.get("help"):
            yield item, hints[item.name]


def _parameter(item: dataclasses.Field[Any], hint: Any, callback: Callback | None) -> inspect.Parameter:
    facts, default = item.metadata, _default(item)
    several, kind = _plain(hint)
    annotation: Any = list.__class_getitem__(kind) if several else kind
    if facts.get("argument"):
        info = typer.Argument(help=facts["help"])
    else:
        flag = "--" + item.name.strip("_").replace("_", "-")
        flags = facts.get("flags") or ((flag,) if kind is bool and not default else ())
        info = typer.Option(*flags, help=facts["help"], callback=callback)
    if default is None or several:
        annotation = annotation | None
    shown = inspect.Parameter.empty if default is dataclasses.MISSING else (default or None) if several else default
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=Annotated[annotation, info]
    )


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _plain(hint: Any) -> tuple[bool, Any]:
    """Whether a type holds several values, and the type of one as a command line has it."""
    if get_origin(hint) in (list, tuple):
        return True, _plain(get_args(hint)[0])[1]
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        several = [kind for kind in kinds if get_origin(kind) in (list, tuple)]
        if several:
            return _plain(several[0])
        return False, next((kind for kind in (Path, str, float, int, bool) if kind in kinds), str)
    return False, hint


def _filled(options: type, values: dict[str, Any]) -> Any:
    """The dataclass with the values of its fields, as lists or tuples where it has those."""
    hints, chosen = get_type_hints(options), {}
    for item in dataclasses.fields(options):
        if dataclasses.is_dataclass(hints[item.name]):
            chosen[item.name] = _filled(hints[item.name], values)
        elif item.name in values:
            value = values[item.name]
            several = _plain(hints[item.name])[0]
            chosen[item.name] = _sequence(item, hints[item.name], value) if several else value
    return options(**chosen)


def _sequence(item: dataclasses.Field[Any], hint: Any, values: Any) -> Any:
    """Values as their field has them; None where it has None and nothing is given."""
    if not values and _default(item) is None:
        return None
    return list(values or ()) if get_origin(hint) is list else tuple(values or ())
