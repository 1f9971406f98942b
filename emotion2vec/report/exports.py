"""The overview of a benchmark as rows, and those as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion2vec.cells import guarded
from emotion2vec.probe.benchmark.results import Combination
from emotion2vec.probe.comparing import against_best
from emotion2vec.probe.knowledge import MARK
from emotion2vec.tasks.metrics import format_score
from emotion2vec.tasks.significance import Comparison, format_p

LEAD = ("corpus", "folds", "feature", "head")
DIFFERENCE = "difference"
"""Column of the difference to the best feature."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One combination in the overview.

    Attributes:
        corpus: its title.
        folds: their scheme.
        feature: its name in the report.
        head: its name.
        scores: means over folds, by metric.
        std: of the main metric, over folds.
        interval: lowest and highest of the main metric of all test clips together.
        against: the mean of the main metric beside that of the corpus's best feature under the same head; None of the
            best itself, and where nothing can be paired.
        clips: that are tested.
        complete: every clip could be used.
        transductive: the feature's models knew some of the tested clips.
        task: see `Combination.task`.
        metrics: those that tables show.
        main: the metric that ranks, UA of classes and CCC of values.
        unit: of scores, `%` or none.
    """

    corpus: str
    folds: str
    feature: str
    head: str
    scores: Mapping[str, float | None]
    std: float
    interval: tuple[float, float]
    against: Comparison | None
    clips: int
    complete: bool
    transductive: bool
    task: str
    metrics: tuple[str, ...]
    main: str
    unit: str

    @property
    def columns(self) -> list[str]:
        """Metrics of the overview: WA, UA and WF1 of classes, those that tables show of values."""
        return [name for name in self.metrics if name != "MF1"]

    def to_dict(self) -> dict[str, Any]:
        """The columns of the CSV; the main metric's name is part of those of its deviation and interval."""
        (low, high), against = self.interval, self.against
        return {
            **{name: getattr(self, name) for name in LEAD},
            **self.scores,
            f"std_{self.main}": self.std,
            f"{self.main}_low": low,
            f"{self.main}_high": high,
            DIFFERENCE: None if against is None else against.difference,
            "difference_low": None if against is None else against.interval[0],
            "difference_high": None if against is None else against.interval[1],
            "p": None if against is None else against.p,
            "clips": self.clips,
            "complete": self.complete,
            MARK: self.transductive,
            "task": self.task,
        }


def overview(combinations: Sequence[Combination]) -> list[Row]:
    """One row per combination, compared with the best of its corpus and head.

    Differences are of means over folds; their p values are those of a paired permutation test over speakers or, where
    they are unknown or alone, folds (see `compare`).
    """
    return [
        Row(
            corpus=done.title,
            folds=done.about.scheme,
            feature=done.feature,
            head=done.scores.head,
            scores={**done.scores.mean, **done.scores.further},
            std=done.scores.std[done.scores.main],
            interval=done.scores.intervals[done.scores.main],
            against=_against_best(done, combinations),
            clips=done.scores.clips,
            complete=done.about.complete,
            transductive=done.scores.is_transductive,
            task=done.task,
            metrics=done.scores.metrics,
            main=done.scores.main,
            unit=done.scores.unit,
        )
        for done in combinations
    ]


def _against_best(done: Combination, combinations: Sequence[Combination]) -> Comparison | None:
    rivals = [other for other in combinations if (other.title, other.scores.head) == (done.title, done.scores.head)]
    return against_best(done.scores, [other.scores for other in rivals])


def to_csv(rows: Sequence[Row]) -> str:
    """The overview as CSV, numbers in full; metrics that a row does not have are empty."""
    stream = io.StringIO()
    last = (DIFFERENCE, "difference_low", "difference_high", "p", "clips", "complete", MARK, "task")
    found = [row.to_dict() for row in rows]
    scores = dict.fromkeys(name for row in found for name in row if name not in {*LEAD, *last})
    writer = csv.DictWriter(stream, [*LEAD, *scores, *last], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guarded(cell) for name, cell in row.items()} for row in found)
    return stream.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """The overview as Markdown tables, one for each kind of scores, each with a line that says what they are."""
    tables = []
    for group in by_metrics(rows):
        head, best = _head(group), _best(group)
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        for row in group:
            cells = ((escape_markdown(text), bold) for text, bold in _cells(row, head, best))
            lines.append("| " + " | ".join(f"**{text}**" if bold else text for text, bold in cells) + " |")
        tables.append("\n".join([*lines, "", _note(group)]) + "\n")
    return "\n".join(tables)


def to_latex(rows: Sequence[Row]) -> str:
    """The overview as LaTeX tables, one for each kind of scores, below comments that say what they are and need."""
    tables = []
    for group in by_metrics(rows):
        head, best = _head(group), _best(group)
        numbers = "".join("l" if name == "95 %" else "r" for name in head[len(LEAD) :])
        lines = [
            f"% {_note(group)}",
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{'l' * len(LEAD)}{numbers}}}",
            r"\toprule",
        ]
        lines += [" & ".join("$p$" if name == "p" else escape_latex(name) for name in head) + r" \\", r"\midrule"]
        for row in group:
            cells = ((escape_latex(text), bold) for text, bold in _cells(row, head, best))
            lines.append(" & ".join(rf"\textbf{{{text}}}" if bold else text for text, bold in cells) + r" \\")
        tables.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n")
    return "\n".join(tables)


def by_metrics(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows in groups that share their metrics, in the order of the first of each."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.columns), []).append(row)
    return list(groups.values())


def _head(rows: Sequence[Row]) -> list[str]:
    """Names of the columns; an interval follows what it is of. Differences are shown where there are any."""
    names = list(LEAD)
    for name in rows[0].columns:
        names += [name, "95 %"] if name == rows[0].main else [name]
    compared = any(row.against is not None for row in rows)
    return [*names, "p", *([DIFFERENCE, "95 %"] if compared else [])]


def _note(rows: Sequence[Row]) -> str:
    """What the numbers of a table are."""
    row, known = rows[0], any(row.transductive for row in rows)
    main, unit = row.main, ", in %" if row.unit == "%" else ""
    return (
        f"Means over folds{unit}. 95 %: of the {main} of all test clips together, by bootstrap over speakers (clips, "
        f"where they are unknown). p and {DIFFERENCE}: of the mean {main} over folds, against the best feature of the "
        "same head; paired permutation test that swaps whole speakers, and bootstrap over them."
    ) + (f" {MARK}: the model heard tested clips in pretraining, or their labels chose it." if known else "")


def _best(rows: Sequence[Row]) -> Mapping[tuple[str, str, str], float]:
    """The highest score of each metric on each corpus and its folds, where there are several."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for name in row.columns:
            found.setdefault((row.corpus, row.folds, name), []).append(row.scores[name] or 0.0)
    return {key: max(values) for key, values in found.items() if len(values) > 1}


def _cells(row: Row, head: Sequence[str], best: Mapping[tuple[str, str, str], float]) -> list[tuple[str, bool]]:
    """Texts of a row, and whether they are the best score of their metric."""
    cells = [(text, False) for text in (row.corpus, row.folds, row.feature + format_marks(row), row.head)]
    for name in row.columns:
        is_best = row.scores[name] is not None and best.get((row.corpus, row.folds, name)) == row.scores[name]
        cells.append((format_score(row.scores[name], row.unit), is_best))
        if name == row.main:
            cells.append((format_interval(row), False))
    cells.append((format_p(row.against), False))
    return [*cells, *((text, False) for text in format_difference(row))] if DIFFERENCE in head else cells


def format_marks(row: Row) -> str:
    """What stands behind a feature's name: that clips are missing, or that its model knew some of the tests."""
    marks = [*(["incomplete"] if not row.complete else []), *([MARK] if row.transductive else [])]
    return f" ({', '.join(marks)})" if marks else ""


def format_interval(row: Row) -> str:
    """The interval of the main metric."""
    return (" to " if row.unit != "%" else "–").join(format_score(limit, row.unit) for limit in row.interval)


def format_difference(row: Row) -> tuple[str, str]:
    """The difference to the best with its sign, and its interval; nothing for the best itself."""
    if row.against is None:
        return "", ""
    low, high = (format_score(limit, row.unit) for limit in row.against.interval)
    return format_score(row.against.difference, row.unit), f"{low} to {high}"


def escape_markdown(text: str) -> str:
    """Text as a cell of Markdown."""
    return "".join({"<": "&lt;", "&": "&amp;"}.get(char, "\\" + char if char in r"\|*_`[]" else char) for char in text)


LATEX = {
    "\\": r"\textbackslash{}",
    "–": "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row it would be an argument of \\
    **{char: "\\" + char for char in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Text as LaTeX; a number's sign becomes a minus."""
    if re.fullmatch(r"-[\d.]+( to .*)?", text):
        return " to ".join(f"${part}$" for part in text.split(" to "))
    return "".join(LATEX.get(char, char) for char in text)
