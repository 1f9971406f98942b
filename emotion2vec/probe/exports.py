"""The overview of a benchmark as rows, and those as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec.probe.metrics import METRICS
from emotion2vec.probe.significance import paired_permutation_test

COLUMNS = (
    "corpus",
    "folds",
    "feature",
    "head",
    *METRICS,
    "AUC",
    "std_UA",
    "UA_low",
    "UA_high",
    "p",
    "clips",
    "complete",
)


def overview(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per document: means over folds, the interval of UA, and p against the corpus's best of the same head.

    p is that of a paired permutation test of UA, over speakers or, where they are unknown or alone, folds; the best
    itself has none.
    """
    rows = []
    for document in documents:
        low, high = document["intervals"]["UA"]
        rows.append(
            {
                "corpus": document["title"],
                "folds": document["scheme"],
                "feature": document["feature"],
                "head": document["head"],
                **document["mean"],
                "AUC": document["AUC"],
                "std_UA": document["std"]["UA"],
                "UA_low": low,
                "UA_high": high,
                "p": _p_against_best(document, documents),
                "clips": sum(fold["clips"] for fold in document["folds"]),
                "complete": document["complete"],
            }
        )
    return rows


def _p_against_best(document: dict[str, Any], documents: Sequence[dict[str, Any]]) -> float | None:
    rivals = [other for other in documents if (other["title"], other["head"]) == (document["title"], document["head"])]
    best = max(rivals, key=lambda other: other["mean"]["UA"])
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
    """UA of what is paired: speakers, or folds."""
    if len(document["by_speaker"]) > 1:
        return {row["speaker"]: row["UA"] for row in document["by_speaker"]}
    return {row["name"]: row["UA"] for row in document["folds"]}


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as CSV, numbers in full."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as a Markdown table."""
    lines = ["| corpus | folds | feature | head | WA | UA | 95 % | WF1 | p |", "|" + " --- |" * 9]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def to_latex(rows: Sequence[dict[str, Any]]) -> str:
    """The overview as a LaTeX table for booktabs."""
    lines = [r"\begin{tabular}{llllrrlrr}", r"\toprule"]
    lines += [r"corpus & folds & feature & head & WA & UA & 95\,\% & WF1 & $p$ \\", r"\midrule"]
    lines += [" & ".join(_escape_latex(cell) for cell in _cells(row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    interval = f"{row['UA_low']:.1f}–{row['UA_high']:.1f}"
    mark = "" if row["complete"] else " (incomplete)"
    return [
        row["corpus"],
        row["folds"],
        row["feature"] + mark,
        row["head"],
        f"{row['WA']:.1f}",
        f"{row['UA']:.1f}",
        interval,
        f"{row['WF1']:.1f}",
        format_p(row["p"]),
    ]


def format_p(p: float | None) -> str:
    """P with as many digits as it deserves; nothing for none."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$"}
    return "".join(special.get(char, "\\" + char if char in "&%$#_{}" else char) for char in text)
