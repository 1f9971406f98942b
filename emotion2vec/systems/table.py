"""The table of a comparison as text, JSON, Markdown, LaTeX and a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from emotion2vec.files import write_json, write_text
from emotion2vec.report.exports import escape_latex, escape_markdown
from emotion2vec.report.html import html_page
from emotion2vec.systems.plan import SystemsPlan
from emotion2vec.systems.run import Comparison, Done
from emotion2vec.tasks.metrics import format_score

METRICS = ("WA", "UA", "WF1")
HEAD = ("system", "backbone", *METRICS, "95 %", "parameters trained", "hours", "published")
NOTE = (
    "Means over the same folds. 95 %: of the UA of all test clips together. Hours are of this machine, all folds. "
    "A mark (knew) says that the backbone knew tested clips or their labels, (incomplete) that clips could not be used."
)


def cells(plan: SystemsPlan, done: Done) -> list[str]:
    """A row of the table."""
    scores = done.scores
    low, high = (format_score(limit, scores.unit) for limit in scores.intervals[scores.main])
    marks = " (knew)" * scores.is_transductive + " (incomplete)" * (not done.complete)
    return [
        done.system.title,
        done.model + marks,
        *(format_score(scores.mean.get(name), scores.unit) for name in METRICS),
        f"{low} to {high}",
        "" if done.parameters is None else f"{done.parameters:,}",
        f"{done.hours:.2f}",
        done.system.published.get(plan.dataset, ""),
    ]


def to_text(rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads."""
    lines = [HEAD, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return "\n".join("  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *[[escape_markdown(cell) for cell in row] for row in rows]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(rows: Sequence[Sequence[str]]) -> str:
    """A table of LaTeX with booktabs."""
    lines = [" & ".join(escape_latex(cell) for cell in line) + r" \\" for line in [HEAD, *rows]]
    columns = "ll" + "r" * (len(HEAD) - 3) + "l"
    body = ["\\begin{tabular}{" + columns + "}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([r"% \usepackage{booktabs}", f"% {escape_latex(NOTE)}", *body, r"\end{tabular}"]) + "\n"


def to_page(plan: SystemsPlan, found: Comparison, rows: Sequence[Sequence[str]], command: str) -> str:
    """A page that works offline."""
    corpus = plan.dataset or plan.table
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    failed = "".join(f"<li>{escape(title)}: {escape(why)}</li>" for title, why in found.failures.items())
    return html_page(
        plan.title,
        f"<h1>{escape(plan.title)}</h1><p>{escape(corpus)}, folds {escape(plan.folds)}. {escape(NOTE)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        + (f"<h2>Failed</h2><ul>{failed}</ul>" if failed else "")
        + f"<h2>Again</h2><pre>{escape(command)}</pre>",
    )


def write_comparison(plan: SystemsPlan, found: Comparison, command: str) -> str:
    """Write `results.json`, `.md`, `.tex`, `.txt` and `report.html` into the output folder; returns the text."""
    output = Path(plan.output)
    rows = [cells(plan, done) for done in found.done]
    results: list[dict[str, Any]] = [
        {
            "system": done.system.title,
            "backbone": done.model,
            **{name: done.scores.mean.get(name) for name in METRICS},
            "interval": list(done.scores.intervals[done.scores.main]),
            "parameters": done.parameters,
            "hours": done.hours,
            "published": done.system.published.get(plan.dataset),
            "transductive": done.scores.transductive,
            "complete": done.complete,
            "folds": [{"name": fold.name, "clips": fold.clips, **fold.scores} for fold in done.scores.folds],
        }
        for done in found.done
    ]
    corpus = {"dataset": plan.dataset or None, "table": plan.table or None, "folds": plan.folds}
    write_json(output / "results.json", {**corpus, "results": results, "failures": found.failures})
    text = to_text(rows)
    write_text(output / "results.txt", text + "\n")
    write_text(output / "results.md", to_markdown(rows))
    write_text(output / "results.tex", to_latex(rows))
    write_text(output / "report.html", to_page(plan, found, rows, command))
    return text
