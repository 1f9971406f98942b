"""What lists could not give, and what was used otherwise than it was named."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from emotion2vec.units import counted

MOST_SHOWN = 1000
"""Characters of a name or a reason that are told; what a list holds may be of any length."""


@dataclass(frozen=True)
class Fault:
    """One thing that could not be used: where it stands (`list.jsonl:17`, or a path) and what is wrong with it.

    What is longer than `MOST_SHOWN` is cut in its middle.
    """

    where: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("where", "reason"):
            object.__setattr__(self, name, shortened(getattr(self, name)))

    def __str__(self) -> str:
        """The fault on one line."""
        return f"{self.where}: {self.reason}"

    @property
    def in_list(self) -> str:
        """The fault of a line where its list was named already."""
        return f"line {self.where.rpartition(':')[2]}: {self.reason}"

    @property
    def kind(self) -> str:
        """The reason without what differs from one input to the next, for counting."""
        return kind_of(self.reason)


@dataclass(frozen=True)
class Change:
    """One thing that was used, though not as it was named.

    Attributes:
        where: where it stands.
        kind: what was done, in the words that are counted.
        text: what was named and what was taken.
    """

    where: str
    kind: str
    text: str

    def __str__(self) -> str:
        """The change on one line."""
        return f"{self.where}: {self.kind}: {self.text}"


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """Text of at most so many characters: of a longer one, its start and its end."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2 - 3) :]}"


def reason_of(error: Exception) -> str:
    """Why something cannot be used, of what reading it ended in: a ValueError of ours says it, others are named."""
    if type(error) is ValueError:
        return str(error)
    text = getattr(error, "strerror", None) or str(error)
    return f"cannot be used: {type(error).__name__}" + (f": {text}" if text else "")


def kind_of(reason: str) -> str:
    """A reason's first clause without names and numbers: `too short, 200 samples at ...` is `too short`."""
    without_names = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*", "…", reason)
    clause = re.split(r"[,:;(]", without_names, maxsplit=1)[0]
    return re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "N", clause).strip(" …") or "unusable"


def files_left_out(names: Collection[str]) -> str:
    """What is said of files that cannot be used."""
    are = "is" if len(names) == 1 else "are"
    return f"{counted(len(names), 'file')} cannot be used and {are} left out: {examples(names)}"


SHOWN = 5
"""Examples that a message lists before it only counts."""


def examples(items: Iterable[str]) -> str:
    """Join the first few of a list for a message, and count the rest."""
    items = list(items)
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest
