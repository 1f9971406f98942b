"""The overview of a benchmark as rows, and those as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from emotion2vec.probe.knowledge import MARK, is_transductive
from emotion2vec.tasks.metrics import MAIN_SCORES, format_score
from emotion2vec.tasks.significance import Comparison, compare

LEAD = ("corpus", "folds", "feature", "head")
DIFFERENCE = "difference"
"""Column of the difference to the best feature."""


def overview(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per document: means over folds, the interval of its main metric, and p against the corpus's best.

    The main metric is UA of classes and CCC of values; its name is part of `_low`, `_high` and `std_`.
    `difference` is that of it to the best feature of the same head, with its interval and the p value of a paired
    permutation test, over speakers or, where they are unknown or alone, folds (see `compare`); the best has none.
    """
    rows = []
    for document in documents:
        main = document["main"]
        low, high = document["intervals"][main]
        against = _against_best(document, documents)
        rows.append(
            {
                "corpus": document["title"],
                "folds": document["scheme"],
                "feature": document["feature"],
                "head": document["head"],
                **document["mean"],
                **({"AUC": document["AUC"]} if "AUC" in document else {}),
                f"std_{main}": document["std"][main],
                f"{main}_low": low,
                f"{main}_high": high,
                "difference": None if against is None else against.difference,
                "difference_low": None if against is None else against.interval[0],
                "difference_high": None if against is None else against.interval[1],
                "p": None if against is None else against.p,
                "clips": sum(fold["clips"] for fold in document["folds"]),
                "complete": document["complete"],
                MARK: is_transductive(document),
                "task": task_name(document),
                "metrics": document["metrics"],
                "main": main,
                "unit": document["unit"],
            }
        )
    return rows


def task_name(document: dict[str, Any]) -> str:
    """`classification`, `regression`, or `conversation` where the next turn is predicted."""
    return "conversation" if document["context"] else str(document["task"])


def _against_best(document: dict[str, Any], documents: Sequence[dict[str, Any]]) -> Comparison | None:
    """The document beside the best of its corpus and head; None of the best itself, and where nothing can be paired."""
    rivals = [other for other in documents if (other["title"], other["head"]) == (document["title"], document["head"])]
    main = document["main"]
    best = max(rivals, key=lambda other: other["mean"][main])
    if best is document:
        return None
    pair = (document, best)
    by_speaker = all(len(found["by_speaker"]) > 1 for found in pair)
    ours, theirs = (_statistics(found, by_speaker) for found in pair)
    return compare(ours, theirs, MAIN_SCORES[main])


def _statistics(document: dict[str, Any], by_speaker: bool) -> dict[tuple[Hashable, str], np.ndarray]:
    """What scores are computed from, by fold and seed and by what is paired: speakers, or folds."""
    found: dict[tuple[Hashable, str], np.ndarray] = {}
    for row in document["statistics"]:
        key = (row["fold"], row["seed"]), row["speaker"] if by_speaker else row["fold"]
        found[key] = found.get(key, 0) + np.array(row["values"], np.float64)
    return found


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as CSV, numbers in full; metrics that a row does not have are empty."""
    stream = io.StringIO()
    hidden = {"metrics", "main", "unit"}
    last = ("difference", "difference_low", "difference_high", "p", "clips", "complete", MARK, "task")
    scores = dict.fromkeys(name for row in rows for name in row if name not in {*LEAD, *last, *hidden})
    writer = csv.DictWriter(stream, [*LEAD, *scores, *last], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as Markdown tables, one for each kind of scores, each with a line that says what they are."""
    tables = []
    for group in by_metrics(rows):
        head = _head(group)
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(map(_escape_markdown, _cells(row, head))) + " |" for row in group]
        tables.append("\n".join([*lines, "", _note(group)]) + "\n")
    return "\n".join(tables)


def to_latex(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as LaTeX tables for booktabs, one for each kind of scores, below comments that say what they are."""
    tables = []
    for group in by_metrics(rows):
        head = _head(group)
        numbers = "".join("l" if name == "95 %" else "r" for name in head[len(LEAD) :])
        lines = [f"% {_note(group)}", rf"\begin{{tabular}}{{{'l' * len(LEAD)}{numbers}}}", r"\toprule"]
        lines += [" & ".join("$p$" if name == "p" else _escape_latex(name) for name in head) + r" \\", r"\midrule"]
        lines += [" & ".join(_escape_latex(cell) for cell in _cells(row, head)) + r" \\" for row in group]
        tables.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n")
    return "\n".join(tables)


def by_metrics(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows in groups that share their metrics, in the order of the first of each."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(columns(row)), []).append(row)
    return list(groups.values())


def columns(row: dict[str, Any]) -> list[str]:
    """Metrics of the overview: WA, UA and WF1 of classes, those that tables show of values."""
    return [name for name in row["metrics"] if name != "MF1"]


def _head(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the columns; an interval follows what it is of. Differences are shown where there are any."""
    names = list(LEAD)
    for name in columns(rows[0]):
        names += [name, "95 %"] if name == rows[0]["main"] else [name]
    compared = any(row.get("difference") is not None for row in rows)
    return [*names, "p", *([DIFFERENCE, "95 %"] if compared else [])]


def _note(rows: Sequence[dict[str, Any]]) -> str:
    """What the numbers of a table are."""
    row, known = rows[0], any(row.get(MARK) for row in rows)
    main, unit = row["main"], ", in %" if row["unit"] == "%" else ""
    return (
        f"Means over folds{unit}. 95 %: of the {main} of all test clips together, by bootstrap over speakers (clips, "
        f"where they are unknown). p and {DIFFERENCE}: of the mean {main} over folds, against the best feature of the "
        "same head; paired permutation test that swaps whole speakers, and bootstrap over them."
    ) + (f" {MARK}: the model heard tested clips in pretraining, or their labels chose it." if known else "")


def _cells(row: dict[str, Any], head: Sequence[str]) -> list[str]:
    cells = [row["corpus"], row["folds"], row["feature"] + format_marks(row), row["head"]]
    for name in columns(row):
        cells.append(format_score(row[name], row["unit"]))
        if name == row["main"]:
            cells.append(format_interval(row))
    cells.append(format_p(row["p"]))
    return [*cells, *format_difference(row)] if DIFFERENCE in head else cells


def format_marks(row: dict[str, Any]) -> str:
    """What stands behind a feature's name: that clips are missing, or that its model knew some of the tests."""
    marks = [*(["incomplete"] if not row["complete"] else []), *([MARK] if row.get(MARK) else [])]
    return f" ({', '.join(marks)})" if marks else ""


def format_interval(row: dict[str, Any]) -> str:
    """The interval of the main metric."""
    limits = (format_score(row[f"{row['main']}_{end}"], row["unit"]) for end in ("low", "high"))
    return (" to " if row["unit"] != "%" else "–").join(limits)


def format_difference(row: dict[str, Any]) -> tuple[str, str]:
    """The difference to the best with its sign, and its interval; nothing for the best itself."""
    if row["difference"] is None:
        return "", ""
    low, high = (format_score(row[f"difference_{end}"], row["unit"]) for end in ("low", "high"))
    return format_score(row["difference"], row["unit"]), f"{low} to {high}"


def format_p(p: float | None) -> str:
    """P with as many digits as it deserves; nothing for none."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _escape_markdown(text: str) -> str:
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


def _escape_latex(text: str) -> str:
    """Text as LaTeX; a number's sign becomes a minus."""
    if re.fullmatch(r"-[\d.]+( to .*)?", text):
        return " to ".join(f"${part}$" for part in text.split(" to "))
    return "".join(LATEX.get(char, char) for char in text)
