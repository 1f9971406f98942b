"""What became of the inputs of a command, counted: its last line, and the same numbers for its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emotion2vec.corpora.faults import Change, Fault, kind_of

COUNTED = ("left_out", "changed", "passed_over")
"""Fields of a `Summary` that count by kinds."""


@dataclass
class Summary:
    """Counts of inputs.

    Attributes:
        found: all that was named or found.
        done: those that were used.
        there: those whose results were there already.
        left_out: those that were not used, by reason.
        changed: those that were used otherwise than they were named, by what was done.
        passed_over: files in folders that are no audio by their endings, by those; they are none of the others.
    """

    found: int = 0
    done: int = 0
    there: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)

    def leave_out(self, faults: Iterable[Fault | str]) -> None:
        """Count faults, or plain reasons, as left out."""
        self.left_out.update(kind_of(fault) if isinstance(fault, str) else fault.kind for fault in faults)

    def change(self, changes: Iterable[Change]) -> None:
        """Count changes."""
        self.changed.update(change.kind for change in changes)

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> Summary:
        """Read what `to_dict` wrote."""
        lists = {name: Counter(counts[name]) for name in COUNTED}
        return cls(counts["found"], counts["done"], counts["there"], **lists)

    def to_dict(self) -> dict[str, Any]:
        """The counts as plain values, the most frequent first."""
        lists = {name: dict(getattr(self, name).most_common()) for name in COUNTED}
        return {"found": self.found, "done": self.done, "there": self.there, **lists}

    def __str__(self) -> str:
        """One line: `summary: 12 found, 9 done, 3 left out (2 too short, 1 empty), 1 changed (1 searched by stem)`."""
        parts = [f"{self.found} found", f"{self.done} done"]
        parts += [f"{self.there} there already"] * bool(self.there)
        all_counts = (self.left_out, self.changed, self.passed_over)
        for name, counts in zip(("left out", "changed on the way", "other files passed over"), all_counts, strict=True):
            each = ", ".join(f"{count} {kind or 'without an ending'}" for kind, count in counts.most_common())
            parts += [f"{counts.total()} {name} ({each})"] * bool(counts)
        return "summary: " + ", ".join(parts)
