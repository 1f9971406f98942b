"""What a pickle may hold beside plain values: names and records, which are inert, and what they come to as settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emotion2vec.errors import CheckpointError

MOST_SETTINGS = 100_000
"""Values that settings may hold."""


class DamagedPickle(CheckpointError):
    """The bytes are no complete pickle."""


@dataclass(frozen=True)
class Name:
    """Something that a pickle names; only text."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """An object of a class that checkpoints are known to hold: its name and what the pickle says about it.

    Attributes:
        kind: the class.
        arguments: what it was constructed with.
        state: its attributes, as the pickle sets them.
        items: what was added to it as to a list or a mapping.
    """

    kind: Name
    arguments: tuple[Any, ...] = ()
    state: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


def plain(value: Any) -> Any:
    """Turn records of settings into plain containers and texts: a namespace or OmegaConf's nodes to what they hold.

    Raises:
        DamagedPickle: they are nested without end, or share their parts so that they never end.
    """
    return _plain(value, 0, [MOST_SETTINGS])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth > 60 or left[0] < 0:
        raise DamagedPickle(f"the settings are nested more than 60 deep, or more than {MOST_SETTINGS}")

    def inner(item: Any) -> Any:
        return _plain(item, depth + 1, left)

    if isinstance(value, dict):
        return {str(inner(key)): inner(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [inner(item) for item in value]
    if not isinstance(value, Record):
        return str(value) if isinstance(value, Name) else value
    for key in ("_content", "_val"):  # OmegaConf's containers and nodes
        if key in value.state:
            return inner(value.state[key])
    if value.state:
        return inner(value.state)
    return inner(value.arguments[0]) if len(value.arguments) == 1 else str(value.kind)


def expect(value: Any, kind: Any) -> Any:
    """A value of a pickle that must be of this kind; anything else is a ValueError."""
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where {kind} belongs")
    return value


def count_of(value: Any) -> int:
    """A size in a pickle; anything else is a ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"a {type(value).__name__} where a size belongs")
    return value
