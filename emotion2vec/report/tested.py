"""The page of a model's test on labelled speech."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from emotion2vec.files import write_text
from emotion2vec.probe.results import About, ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.report.charts import mapping_table
from emotion2vec.report.html import html_page
from emotion2vec.report.score_section import (
    hardest_part,
    judged_closer,
    robustness_part,
    shots_part,
    speaker_table,
    summary_table,
)
from emotion2vec.units import counted


def write_test_report(folder: Path) -> Path:
    """Write `report.html` of the `scores.json` in a folder; gives the page's file."""
    result = ProbeResult.from_dict(json.loads((folder / "scores.json").read_text(encoding="utf-8")))
    (scores,) = result.results
    title = f"{Path(scores.feature).name} on {result.about.dataset}"
    write_text(folder / "report.html", html_page(title, f"<h1>{escape(title)}</h1>{scored_part(result)}"))
    return folder / "report.html"


def scored_part(result: ProbeResult) -> str:
    """Everything about one set of scores: warnings, summary, classes or values, groups, conditions, single clips."""
    (scores,), about = result.results, result.about
    return (
        f'<p class="note">{escape(_facts(about))}</p>{warnings_box(about.warnings)}{summary_table(scores)}'
        f"{_mapping(about)}{judged_closer(scores, about.classes or ())}{speaker_table(scores)}"
        f"{robustness_part(scores)}{shots_part(scores)}{hardest_part(scores)}"
        f"{''.join(_further(target, one) for target, one in result.further.items())}"
    )


def _further(target: str, scores: HeadScores) -> str:
    """The scores of a head beside the main one."""
    return (
        f"<details><summary>{escape(target)}: {counted(scores.clips, 'clip')}</summary>{summary_table(scores)}"
        f"{judged_closer(scores, tuple(scores.by_class or ()))}{speaker_table(scores)}"
        f"{robustness_part(scores)}{shots_part(scores)}{hardest_part(scores)}</details>"
    )


def _facts(about: About) -> str:
    what = f"values: {', '.join(about.targets)}" if about.targets else f"{len(about.classes or ())} classes"
    counts = ", ".join(f"{name} {count}" for name, count in (about.clips_per_class or {}).items())
    return f"{about.dataset}: {counted(about.clips, 'clip')}, {about.people}; {what}" + (
        f" ({counts})" if counts else ""
    )


def warnings_box(warnings: tuple[str, ...] | list[str]) -> str:
    """What scores are to be read with in mind."""
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<div class="warn"><strong>Read the scores with this in mind</strong><ul>{items}</ul></div>'


def _mapping(about: About) -> str:
    """What labels became, where some were renamed or left out."""
    changed: Mapping[str, Any] = {
        name: labels for name, labels in about.mapping.items() if any(label != to for label, to in labels.items())
    }
    if not changed:
        return ""
    return f"<details open><summary>What labels became</summary>{mapping_table(changed, about.classes or ())}</details>"
