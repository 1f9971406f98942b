"""Objects as people see them: on one line where Python prints them, and as a small table in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import chain

MOST_ROWS, MOST_LETTERS = 10, 300
"""Of a table, and of a line or a cell."""

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Names of columns, none where rows are facts with their names in front; and cells of all rows."""


class Shown:
    """An object that says in one line what it is."""

    __slots__ = ()

    def _said(self) -> str:
        """What it is."""
        raise NotImplementedError

    def _table(self) -> Table:
        """What a notebook shows below that."""
        return (), ()

    def __repr__(self) -> str:
        return one_line(f"{type(self).__name__}: {self._said()}")

    def _repr_html_(self) -> str:
        names, rows = self._table()
        return html_table(repr(self), names, rows)


def one_line(text: str) -> str:
    """Text on one line of at most `MOST_LETTERS`; what cannot be seen is shown as Python writes it."""
    flat = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: MOST_LETTERS + 1])
    return flat if len(flat) <= MOST_LETTERS else f"{flat[: MOST_LETTERS - 1]}…"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names of a list, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def html_table(caption: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first rows of a table as HTML; nothing in it but text."""
    head = "".join(f"<th>{_cell(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows[:MOST_ROWS])
    width = max(map(len, chain(rows[:MOST_ROWS], [names])), default=1)
    rest = len(rows) - MOST_ROWS
    more = f'<tr><td colspan="{width}">… and {rest:,} more</td></tr>' if rest > 0 else ""
    style = "caption-side:top;text-align:left"
    return (
        f'<table><caption style="{style}">{_cell(caption)}</caption>'
        f"{f'<thead><tr>{head}</tr></thead>' * bool(head)}<tbody>{body}{more}</tbody></table>"
    )


def _cell(text: str) -> str:
    return escape(one_line(text))
