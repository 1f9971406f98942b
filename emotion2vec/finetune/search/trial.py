"""A trial of a search: as this process runs it, and as it is told of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.locks import Lock

if TYPE_CHECKING:
    import optuna

WHY = "why"
"""Where a trial says why it failed."""


@dataclass(frozen=True)
class Row:
    """A trial as it is told of.

    Attributes:
        number: of the trial.
        state: `done`, `pruned`, `failed`, `stopped` (another one takes it up) or `running`.
        value: its best validation score, or the last one where it is not done; None before any.
        values: its settings, by key.
        folder: its run folder.
        why: it failed; else empty.
    """

    number: int
    state: str
    value: float | None
    values: dict[str, Any]
    folder: Path
    why: str = ""


class Trial:
    """A trial that this process runs.

    Attributes:
        number: of the trial.
        values: its settings, by key.
        folder: its run folder.
    """

    def __init__(self, asked: optuna.Trial, folder: Path):
        self.number = asked.number
        self.values = asked.params
        self.folder = folder
        self._asked = asked
        self._seen: set[int] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(lock_of(folder))
        self._lock.take()

    def stays(self, update: int, score: float) -> bool:
        """Note a validation; whether the trial is worth going on with."""
        if update not in self._seen:  # what a trial that is taken up had logged after its checkpoint comes again
            self._asked.report(score, update)
            self._seen.add(update)
        return not self._asked.should_prune()

    def fails(self, why: str) -> None:
        """Note why it cannot go on."""
        self._asked.set_user_attr(WHY, why)

    def leave(self) -> None:
        """Let others see that nobody runs it any more."""
        self._lock.let_go()


def lock_of(folder: Path) -> Path:
    """The lock file of a trial, beside its run folder, whose own lock goes when its training ends."""
    return folder.with_name(f".{folder.name}.lock")
