"""Directives that tell what can be set: `{keys}` of a configuration's dataclass, `{verbs}` of the command line.

Both read the code that the program itself reads, so that no key and no option can be forgotten or differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

Row = tuple[str, ...]


def keys_of(config: type, prefix: str = "") -> Iterator[Row]:
    """Key, default, values and meaning with its unit, of every field that can be set, those of sections dotted."""
    hints = get_type_hints(config)
    for item in dataclasses.fields(config):
        name = prefix + item.name.rstrip("_")
        if dataclasses.is_dataclass(hints[item.name]):
            yield from keys_of(hints[item.name], name + ".")
        elif item.metadata.get("help"):
            default = item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
            yield name, _value(default), _values(item.metadata, hints[item.name]), item.metadata["help"]


def _value(value: Any) -> str:
    """A default as YAML has it."""
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value in ("", [], ()):
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return (
        ", ".join(map(str, value))
        if isinstance(value, list | tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _values(facts: Any, hint: Any) -> str:
    """What may be set: choices, or the type with its limits."""
    if facts["choices"]:
        return ", ".join(facts["choices"])
    kind = hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", ()) else str(hint)
    kind = re.sub(r"\b[\w]+\.(?=\w)", "", kind).replace(" | None", "")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [f"{sign} {facts[name]:g}" for name, sign in signs.items() if facts.get(name) is not None]
    return " ".join([kind, ", ".join(limits)]).strip()


def sections_of(config: type) -> dict[str, list[Row]]:
    """The rows of `keys_of` by their first section; those of none are first, under an empty name."""
    found: dict[str, list[Row]] = {"": []}
    for row in keys_of(config):
        section = row[0].partition(".")[0] if "." in row[0] else ""
        found.setdefault(section, []).append(row)
    return {name: rows for name, rows in found.items() if rows}


def commands() -> dict[str, Any]:
    """All commands by what a user types, such as `finetune search`."""
    from typer.main import get_command

    from emotion2vec.cli import app, under_finetune

    verbs: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    return dict(sorted((verbs | {f"finetune {name}": verb for name, verb in under_finetune().items()}).items()))


def options_of(command: Any) -> Iterator[Row]:
    """Option, default and meaning of every parameter of a command."""
    for item in command.params:
        argument = item.param_type_name == "argument"
        names = [item.metavar or item.name.upper()] if argument else [*item.opts, *item.secondary_opts]
        default = None if callable(item.default) else item.default
        shown = "required" if item.required else "off" if default is False else _value(default)
        yield " ".join(names), shown, item.help or ""


class Tables(SphinxDirective):
    """What both have in common: sections with a table each."""

    def section(self, title: str, intro: str, head: Row, rows: list[Row], name: str) -> nodes.section:
        """A section that can be linked to by its name."""
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        section += nodes.title("", "", *self._inline(title))
        for paragraph in filter(None, intro.split("\n\n")):
            section += nodes.paragraph("", "", *self._inline(paragraph.replace("\n", " ")))
        if rows:
            section += self._table(head, rows)
        return section

    def _table(self, head: Row, rows: list[Row]) -> nodes.table:
        table = nodes.table(classes=["options"])
        group = nodes.tgroup(cols=len(head))
        group += [nodes.colspec(colwidth=1) for _ in head]
        group += nodes.thead("", self._row(head))
        body = nodes.tbody()
        for first, *others in rows:
            row = self._row((f"`{first}`", *others))
            row["ids"] = [nodes.make_id(f"key-{first}")] if "." in first else []
            body += row
        group += body
        table += group
        return table

    def _row(self, cells: Row) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *self._inline(cell))) for cell in cells))

    def _inline(self, text: str) -> list[nodes.Node]:
        """Text whose words between backticks are literal."""
        parts = re.split(r"`+([^`]+)`+", text)
        return [nodes.literal("", part) if place % 2 else nodes.Text(part) for place, part in enumerate(parts) if part]


class Keys(Tables):
    """`{keys} module.Class`: all keys of a configuration, a table for each section; `without` another one's."""

    required_arguments = 1
    option_spec = {"without": str}  # noqa: RUF012 (as Sphinx declares it)

    def run(self) -> list[nodes.Node]:
        """See the class."""
        known = set(keys_of(_named(self.options["without"]))) if "without" in self.options else set()
        head = ("key", "default", "values", "meaning and unit")
        found: list[nodes.Node] = []
        for name, rows in sections_of(_named(self.arguments[0])).items():
            if rows := [row for row in rows if row not in known]:
                found.append(
                    self.section(
                        f"`{name}`" if name else "The run as a whole", "", head, rows, name or "run-as-a-whole"
                    )
                )
        return found


class Verbs(Tables):
    """`{verbs}`: all commands with their options."""

    def run(self) -> list[nodes.Node]:
        """See the class."""
        head = ("option", "default", "meaning")
        return [
            self.section(f"`emotion2vec {name}`", _prose(command.help), head, [*options_of(command)], name)
            for name, command in commands().items()
        ]


def _prose(text: str | None) -> str:
    return re.sub(r"[\b\f]", "", text or "").strip()


def _named(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(import_module(module), name)
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("keys", Keys)
    app.add_directive("verbs", Verbs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
