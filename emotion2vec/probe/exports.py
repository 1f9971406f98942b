"""The overview of a benchmark as rows, and those as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec.probe.metrics import format_score
from emotion2vec.probe.significance import paired_permutation_test

LEAD = ("corpus", "folds", "feature", "head")


def overview(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per document: means over folds, the interval of its main metric, and p against the corpus's best.

    The main metric is UA of classes and CCC of values; its name is part of `_low`, `_high` and `std_`.
    p is that of a paired permutation test of it against the best feature of the same head, over speakers or, where
    they are unknown or alone, folds; the best itself has none.
    """
    rows = []
    for document in documents:
        main = document["main"]
        low, high = document["intervals"][main]
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
                "p": _p_against_best(document, documents),
                "clips": sum(fold["clips"] for fold in document["folds"]),
                "complete": document["complete"],
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


def _p_against_best(document: dict[str, Any], documents: Sequence[dict[str, Any]]) -> float | None:
    rivals = [other for other in documents if (other["title"], other["head"]) == (document["title"], document["head"])]
    main = document["main"]
    best = max(rivals, key=lambda other: other["mean"][main])
    if best is document:
        return None
    ours, theirs = _units(document), _units(best)
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 2:
        return None
    return paired_permutation_test(
        np.array([ours[name] for name in shared]), np.array([theirs[name] for name in shared])
    )


def _units(document: dict[str, Any]) -> dict[str, float]:
    """The main metric of what is paired: speakers, or folds."""
    main = document["main"]
    if len(document["by_speaker"]) > 1:
        return {row["speaker"]: row[main] for row in document["by_speaker"]}
    return {row["name"]: row[main] for row in document["folds"]}


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as CSV, numbers in full; metrics that a row does not have are empty."""
    stream = io.StringIO()
    hidden = {"metrics", "main", "unit"}
    last = ("p", "clips", "complete", "task")
    scores = dict.fromkeys(name for row in rows for name in row if name not in {*LEAD, *last, *hidden})
    writer = csv.DictWriter(stream, [*LEAD, *scores, *last], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as Markdown tables, one for each kind of scores, each with a line that says what they are."""
    tables = []
    for group in by_metrics(rows):
        head = _head(group[0])
        lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(map(_escape_markdown, _cells(row))) + " |" for row in group]
        tables.append("\n".join([*lines, "", _note(group[0])]) + "\n")
    return "\n".join(tables)


def to_latex(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as LaTeX tables for booktabs, one for each kind of scores, below comments that say what they are."""
    tables = []
    for group in by_metrics(rows):
        head = _head(group[0])
        numbers = "".join("l" if name == "95 %" else "r" for name in head[len(LEAD) :])
        lines = [f"% {_note(group[0])}", rf"\begin{{tabular}}{{{'l' * len(LEAD)}{numbers}}}", r"\toprule"]
        lines += [" & ".join("$p$" if name == "p" else _escape_latex(name) for name in head) + r" \\", r"\midrule"]
        lines += [" & ".join(_escape_latex(cell) for cell in _cells(row)) + r" \\" for row in group]
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


def _head(row: dict[str, Any]) -> list[str]:
    """Names of the columns; the interval follows its metric."""
    names = list(LEAD)
    for name in columns(row):
        names += [name, "95 %"] if name == row["main"] else [name]
    return [*names, "p"]


def _note(row: dict[str, Any]) -> str:
    """What the numbers of a table are."""
    main, unit = row["main"], ", in %" if row["unit"] == "%" else ""
    return (
        f"Means over folds{unit}. 95 %: of the {main} of all test clips together, by bootstrap over speakers (clips, "
        f"where they are unknown). p: paired permutation test of {main} against the best feature of the same head."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    mark = "" if row["complete"] else " (incomplete)"
    cells = [row["corpus"], row["folds"], row["feature"] + mark, row["head"]]
    for name in columns(row):
        cells.append(format_score(row[name], row["unit"]))
        if name == row["main"]:
            cells.append(format_interval(row))
    return [*cells, format_p(row["p"])]


def format_interval(row: dict[str, Any]) -> str:
    """The interval of the main metric."""
    limits = (format_score(row[f"{row['main']}_{end}"], row["unit"]) for end in ("low", "high"))
    return (" to " if row["unit"] != "%" else "–").join(limits)


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
