"""What a model says of a clip -> tidy rows: one for the clip, or one for each of its windows.

W: windows. K: labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.scoring import Opinion
from emotion2vec.extraction.writers.spreadsheets import Table as Sheet
from emotion2vec.notebooks import Shown, Table, listed

if TYPE_CHECKING:
    import numpy as np

FIXED = ("file", "start", "end", "speaker", "channel", "label", "confidence")
"""Columns that every table of results begins with; times are in s within the file."""

DIGITS = 6
"""Decimals of times and scores."""

GIVEN = "given_"
"""What the input's columns are called by where results have one of their name."""

Labels = Mapping[str, Sequence[str]]
"""Labels of each head, by its target; the main one's is empty."""


@dataclass(frozen=True, repr=False)
class Row(Shown):
    """One clip or window, scored.

    Attributes:
        item: the clip.
        start: in s within the file.
        end: in s within the file.
        label: that of the highest score; None where it is below what was asked for, or scores are values.
        confidence: the highest score; None where scores are values.
        scores: of the main head by label.
        further: label and scores of each head beside it, by target.
    """

    item: Utterance
    start: float
    end: float
    label: str | None
    confidence: float | None
    scores: Mapping[str, float]
    further: Mapping[str, tuple[str | None, Mapping[str, float]]] = field(default_factory=dict)

    def _said(self) -> str:
        speaker = f", {self.item.speaker}" * bool(self.item.speaker)
        place = f"{self.item.file} {self.start:.2f} to {self.end:.2f} s{speaker}"
        if self.confidence is None:
            return f"{place}: {listed([f'{name} {value:.2f}' for name, value in self.scores.items()])}"
        return f"{place}: {self.label or 'no label'}, {self.confidence:.2f}"

    def _table(self) -> Table:
        return ("score of", "score"), [[name, f"{value:.4f}"] for name, value in self.scores.items()]


class Rows(Protocol):
    """Takes rows, of one clip after the other."""

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """Take all rows of a clip.

        Raises:
            ValueError: this clip cannot be held.
            ConfigError: nothing more can be written.
        """


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of what a model says.

    Attributes:
        labels: K of each head.
        abstain: the main head gives no label below this probability.
        values: targets of heads whose scores are values, which give no label.
    """

    labels: Labels
    abstain: float | None = None
    values: Sequence[str] = ()

    def rows_of(self, item: Utterance, opinion: Opinion) -> list[Row]:
        """The rows of a clip; windows end where the next begins, and the last one with the audio."""
        begin, edges = item.start or 0.0, _edges(opinion)
        said = {name: self._named(name, rows) for name, rows in {"": opinion.probabilities, **opinion.further}.items()}
        rows = []
        for number, scores in enumerate(said.pop("")):
            further = {name: (self._best(name, its[number])[0], its[number]) for name, its in said.items()}
            label, confidence = self._best("", scores)
            if confidence is not None and confidence < (self.abstain or 0.0):
                label = None
            start, end = (round(begin + edges[place], DIGITS) for place in (number, number + 1))
            rows.append(Row(item, start, end, label, confidence, scores, further))
        return rows

    def _named(self, head: str, rows: np.ndarray) -> list[dict[str, float]]:
        """Scores (W, K) of a head by label."""
        return [
            {label: round(score, DIGITS) for label, score in zip(self.labels[head], row, strict=True)}
            for row in rows.tolist()
        ]

    def _best(self, head: str, scores: Mapping[str, float]) -> tuple[str | None, float | None]:
        if head in self.values:
            return None, None
        label = max(scores, key=scores.__getitem__)
        return label, scores[label]


def _edges(opinion: Opinion) -> list[float]:
    """Where windows begin, and where the last one ends; in s from the item's start."""
    length = opinion.window or opinion.seconds
    return [number * length for number in range(len(opinion.probabilities))] + [opinion.seconds]


class Columns:
    """The columns of a table of results, and the cells of its rows.

    `FIXED`; `score:LABEL` of the main head; of each other one `TARGET:label`, where it tells classes, and `TARGET:NAME`
    of each score; then the further columns of the input's tables as they are there.

    Args:
        maker: of the rows.
        items: the input, whose columns are taken in the order in which they come.

    Attributes:
        kinds: what the cells of each column are: `float`, `int` or `str`.
    """

    def __init__(self, maker: RowMaker, items: Iterable[Utterance]):
        self._further = [(name, name not in maker.values, maker.labels[name]) for name in maker.labels if name]
        kinds: dict[str, type] = dict.fromkeys(FIXED, str) | {"start": float, "end": float, "channel": int}
        kinds |= {"confidence": float} | {f"score:{label}": float for label in maker.labels[""]}
        for name, classes, labels in self._further:
            kinds |= {f"{name}:label": str} if classes else {}
            kinds |= {f"{name}:{label}": float for label in labels}
        self._given = dict.fromkeys(name for item in items for name in item.row)
        for name in self._given:
            shown = name
            while shown in kinds:
                shown = GIVEN + shown
            kinds[shown] = str
        self.kinds = kinds

    def cells(self, row: Row) -> list[Any]:
        """The cells of a row, as plain values; None for what is not known."""
        item = row.item
        cells = [item.file, row.start, row.end, item.speaker, item.channel, row.label, row.confidence]
        cells += row.scores.values()
        for name, classes, _ in self._further:
            label, scores = row.further[name]
            cells += [label] * classes + [*scores.values()]
        return cells + [item.row.get(name) for name in self._given]


class TableRows:
    """Writes rows of results into a table."""

    def __init__(self, table: Sheet, columns: Columns):
        self._table, self._columns = table, columns

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """See `Rows`."""
        for row in rows:
            self._table.add(self._columns.cells(row))
