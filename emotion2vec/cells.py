"""Cells of tables that programs for spreadsheets open: what would be a formula there is written as text.

A text that begins like a formula, or with an apostrophe, gets an apostrophe in front, which those programs do not show.
Taking the first apostrophe of a cell off gives back what was written. Numbers are written as they are.
"""

from __future__ import annotations

from typing import Any

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""What formulas begin with, also in wide characters; spaces at the start of a cell are passed over."""


def guarded(cell: Any) -> Any:
    """A cell that is no formula; what is no text is given back."""
    is_formula = isinstance(cell, str) and (cell.startswith(FORMULAS) or cell.lstrip(" ").startswith(FORMULAS))
    return f"'{cell}" if is_formula else cell


def unguarded(cell: str) -> str:
    """What `guarded` made a cell of."""
    return cell.removeprefix("'")
