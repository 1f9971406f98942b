"""The report of a benchmark: one HTML page that works offline, and tables for papers and programs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from emotion2vec.files import write_json, write_text
from emotion2vec.probe.benchmark.plan import BenchmarkPlan
from emotion2vec.probe.benchmark.results import BenchmarkResult, Combination, Failure
from emotion2vec.report.corpus import anchor, corpus_section
from emotion2vec.report.exports import Row, overview, to_csv, to_latex, to_markdown
from emotion2vec.report.html import html_page
from emotion2vec.version import PROBED_WITH, versions


def write_report(plan: BenchmarkPlan, result: BenchmarkResult, command: str) -> None:
    """Write `report.html`, `results.json`, `.csv`, `.md` and `.tex` into the plan's output folder.

    Args:
        plan: what was to be done.
        result: what is done so far.
        command: how to reproduce it.
    """
    folder, rows = Path(plan.output), overview(result.combinations)
    document = {
        "plan": plan.to_dict(),
        "failures": [asdict(failure) for failure in result.failures],
        "results": [done.to_dict() for done in result.combinations],
    }
    write_json(folder / "results.json", document)
    for name, text in (
        ("results.csv", to_csv(rows)),
        ("results.md", to_markdown(rows)),
        ("results.tex", to_latex(rows)),
        ("report.html", page(plan, result, rows, command)),
    ):
        write_text(folder / name, text)


def page(plan: BenchmarkPlan, result: BenchmarkResult, rows: Sequence[Row], command: str) -> str:
    """Lay out the whole page; `rows` are the overview of the result."""
    titles = dict.fromkeys(done.title for done in result.combinations)
    sections = [
        corpus_section(
            [done for done in result.combinations if done.title == title], [row for row in rows if row.corpus == title]
        )
        for title in titles
    ]
    links = "".join(f'<li><a href="#{anchor(title)}">{escape(title)}</a></li>' for title in titles)
    introduction = _introduction({done.scores.task for done in result.combinations})
    return html_page(
        plan.title,
        f'<h1>{escape(plan.title)}</h1><p class="lead">{introduction}</p><nav><ul>{links}</ul></nav>'
        f"{_failures(result.failures)}{''.join(sections)}{_reproduce(plan, result.combinations, command)}",
    )


def _introduction(tasks: set[str]) -> str:
    """What is done and what the metrics mean, of those that occur."""
    text = "Small models on frozen features. Scores are means over folds."
    if "classification" in tasks or not tasks:
        text += (
            " WA: weighted accuracy, the share of clips that are right; UA: unweighted accuracy, the mean recall of "
            "classes; WF1: F1 weighted by class size; all in %."
        )
    if "regression" in tasks:
        text += (
            " CCC: concordance correlation coefficient of true and predicted values, 1 for agreement and 0 for none; "
            "the mean absolute error (MAE) is in units of the labels."
        )
    return text


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    where: dict[tuple[str, str], list[str]] = {}
    for failure in failures:  # a feature that is not to be had fails on every corpus
        where.setdefault((failure.feature, failure.reason), []).append(failure.corpus)
    items = ""
    for (feature, reason), corpora in where.items():
        named = " · ".join(part for part in (", ".join(corpora), feature) if part)
        items += f"<li>{escape(named)}: {escape(reason)}</li>"
    return f'<div class="warn"><strong>Could not be done</strong><ul>{items}</ul></div>'


def _reproduce(plan: BenchmarkPlan, combinations: Sequence[Combination], command: str) -> str:
    hashes = {f"{done.title} · {done.feature}": done.request for done in combinations}
    installed = ", ".join(f"{name} {version}" for name, version in versions(*PROBED_WITH).items())
    contents = "\n".join(
        f"{name}: corpus {row['corpus']}, features {row['fingerprint']}" for name, row in hashes.items()
    )
    return (
        f'<section><h2 id="reproduce">How to reproduce</h2><pre>{escape(command)}</pre>'
        f"<details><summary>Configuration</summary><pre>{escape(plan.to_yaml())}</pre></details>"
        f"<details><summary>Content hashes of corpora and features</summary><pre>{escape(contents)}</pre></details>"
        f'<p class="note">{escape(installed)}</p></section>'
    )
