"""The page of a fine-tuning run: what it learnt from, how it went, and every score that its folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from emotion2vec.documents import MOST_ANNOTATIONS, read_json
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_text
from emotion2vec.probe.results import ProbeResult
from emotion2vec.report.html import html_page
from emotion2vec.report.lines import line_chart
from emotion2vec.report.score_section import fold_table, heads, table
from emotion2vec.report.tested import scored_part, warnings_box

SMOOTHED = 60
"""Points that a curve of single updates is averaged to."""

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss", "validation_loss")),
    ("UA in %", ("UA", "validation_UA")),
    ("CCC", ("CCC", "validation_CCC")),
    ("learning rate of the head", ("lr",)),
    ("parts of the encoder that learn", ("learning_parts",)),
    ("gradient norm", ("grad_norm",)),
)
"""Charts of training: a title, and the names of what is drawn in it, where a run has it."""


def write_run_report(folder: Path) -> Path:
    """Write `report.html` of a run folder, finished or not; gives the page's file.

    Raises:
        ConfigError: it is no run folder of fine-tuning, or a file in it cannot be read.
    """
    if not (folder / "data.json").is_file():
        raise ConfigError(f"{folder}: has no data.json, expected a run folder of `emotion2vec finetune`")
    title = f"Fine-tuning run {folder.resolve().name}"
    parts = [
        _lead(folder),
        _data(_read(folder / "data.json")),
        _training(folder),
        _validation(folder),
        _folds(folder),
        *_tests(folder),
        _configuration(folder),
    ]
    write_text(folder / "report.html", html_page(title, f"<h1>{escape(title)}</h1>{''.join(parts)}"))
    return folder / "report.html"


def _read(path: Path) -> dict[str, Any]:
    """A JSON document; empty where there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        found = read_json(path, MOST_ANNOTATIONS)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: is a {type(found).__name__}, expected an object")
    return found


def _lead(folder: Path) -> str:
    facts = _read(folder / "finetuned.json")
    if not facts:
        found = "There are models of the folds, and none of all clips."
        lacking = "The run is not finished: it has left no model yet."
        return f'<p class="lead">{found if (folder / "scores.json").is_file() else lacking}</p>'
    told = ", ".join(
        f"{name} {value:.1f} %" if name in ("WA", "UA", "WF1", "MF1") else f"{name} {value:.3f}"
        for name, value in facts["validation"].items()
        if name not in ("score", "loss")
    )
    text = f"The model is that of update {facts['update']}. On {facts['validation_clips']} held-out clips: {told}."
    if "temperature" in facts:
        text += (
            f" A temperature of {facts['temperature']:.2f} takes their calibration error from "
            f"{facts['calibration_error_before']:.1f} to {facts['calibration_error']:.1f} %."
        )
    if facts.get("refit"):
        text += " That was a first model; this one learnt from all clips, these too, for as many updates."
    return f'<p class="lead">{escape(text)}</p>'


def _data(data: Mapping[str, Any]) -> str:
    """Clips and speakers of every label, corpus, language and gender, by parts."""
    parts = list(data["parts"])
    body = ""
    for by, rows in data["groups"].items():
        for name, row in rows.items():
            cells = "".join(
                f'<td class="n">{row[part]["clips"]}</td><td class="n">{row[part]["speakers"]}</td>' for part in parts
            )
            body += f"<tr><td>{escape(by)}</td><th>{escape(name)}</th>{cells}</tr>"
    cells = "".join(
        f'<td class="n">{data["parts"][part]["clips"]}</td><td class="n">{data["parts"][part]["speakers"]}</td>'
        for part in parts
    )
    body += f'<tr class="total"><td></td><td>all</td>{cells}</tr>'
    head = "<th>by</th><th></th>" + heads([name for part in parts for name in (f"{part}: clips", "speakers")])
    held = ", ".join(data["held_out_speakers"])
    note = f'<p class="note">Held out: {escape(held)}.</p>' if held else ""
    return (
        f"<section><h2>Data</h2>{warnings_box(data['warnings'])}"
        f'<p class="note">{escape("; ".join(data["sources"]))}</p>{table(head, body)}{note}{_values(data)}</section>'
    )


def _values(data: Mapping[str, Any]) -> str:
    if not data.get("values"):
        return ""
    body = "".join(
        f'<tr><th>{escape(name)}</th><td class="n">{row["mean"]:.3f}</td><td class="n">{row["std"]:.3f}</td></tr>'
        for name, row in data["values"].items()
    )
    return table(f"<th>value</th>{heads(['mean', 'standard deviation'])}", body)


def _training(folder: Path) -> str:
    """Charts of what was logged."""
    lines = _lines(folder / "metrics.jsonl")
    charts = ""
    for title, names in PANELS:
        curves = {
            name.replace("_", " "): _averaged(points) if not name.startswith("validation") else points
            for name in names
            if (points := [(float(line["update"]), line[name]) for line in lines if line.get(name) is not None])
        }
        if curves and not (title.startswith("parts") and len({y for _, y in next(iter(curves.values()))}) == 1):
            charts += line_chart(curves, title, "update")
    if not charts:
        return ""
    note = f"Numbers of single updates are averaged to at most {SMOOTHED} points."
    return f'<section><h2>Training</h2><p class="note">{note}</p><div class="plots">{charts}</div></section>'


def _lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of metrics; one that was cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and "update" in values:
            found.append(values)
    return found


def _averaged(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // SMOOTHED)
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    return [(sum(x for x, _ in some) / len(some), sum(y for _, y in some) / len(some)) for some in groups]


def _validation(folder: Path) -> str:
    """Scores of the held-out clips, by the final model."""
    document = _read(folder / "validation.json")
    if not document:
        return ""
    return f"<section><h2>Held-out clips</h2>{scored_part(ProbeResult.from_dict(document))}</section>"


def _folds(folder: Path) -> str:
    """Scores of cross-validation."""
    document = _read(folder / "scores.json")
    if not document:
        return ""
    result = ProbeResult.from_dict(document)
    scheme = escape(result.about.scheme)
    return (
        f"<section><h2>Cross-validation: {scheme}</h2>{scored_part(result)}"
        f"<details><summary>{len(result.results[0].folds)} folds</summary>{fold_table(result.results[0])}</details>"
        "</section>"
    )


def _tests(folder: Path) -> list[str]:
    """Scores of tests on other speech that the folder holds."""
    found = {path.parent.name: _read(path) for path in sorted((folder / "tests").glob("*/scores.json"))}
    return [
        f"<section><h2>Test on {escape(name)}</h2>{scored_part(ProbeResult.from_dict(document))}</section>"
        for name, document in found.items()
    ]


def _configuration(folder: Path) -> str:
    parts = ""
    if not (folder / "config.yaml").is_file():  # a run of folds alone
        folder = next((path.parent for path in sorted(folder.glob("folds/*/config.yaml"))), folder)
    for name, title in (("config.yaml", "Configuration"), ("versions.json", "Versions"), ("computing.json", "Machine")):
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8")
            parts += f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"
    return f"<section><h2>Settings</h2>{parts}</section>"
