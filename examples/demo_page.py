"""Lay what `make demo` left in a folder out as one page that works offline, and print its path.

    python examples/demo_page.py demo

Everything on the page is made by the package's own reports: the curves of a run, the scores of a probe, labels over
time. The folder holds `run`, `probe.json`, `labels.csv` and `over_time.csv`, which the commands in the Makefile write.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
from collections import Counter
from html import escape
from pathlib import Path

from emotion2vec.extraction.results.timelines.drawing import pages_of
from emotion2vec.extraction.results.timelines.pictures import inline_svg
from emotion2vec.extraction.results.timelines.tables import timelines
from emotion2vec.files import write_text
from emotion2vec.probe.results import ProbeResult
from emotion2vec.report.html import html_page
from emotion2vec.report.lines import line_chart
from emotion2vec.report.score_section import heads, table
from emotion2vec.report.tested import scored_part
from emotion2vec.training.plot import PANELS, curves
from emotion2vec.training.run_folder import METRICS, read_lines

SPEECH = Path(__file__).resolve().parent / "sample_speech"
CHARTS = 3
"""Charts of the run, of those that `emotion2vec plot` draws."""


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a table, separated by tabs or commas."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def run_section(run: Path) -> str:
    """How pretraining went."""
    lines, charts = read_lines(run / METRICS), []
    for title, names in PANELS:
        found = {
            name.replace("_", " "): list(zip(updates, values, strict=True))
            for name, (updates, values) in curves(lines, names).items()
        }
        if found:
            charts.append(line_chart(found, title, "update"))
    last = lines[-1]["update"]
    note = (
        f"{last} updates of the objective of emotion2vec: a student learns to predict, from speech of which parts are "
        "hidden, what its own slowly moving average makes of all of it. Of so few updates nothing is to be expected."
    )
    return f'<p class="note">{note}</p><div class="plots">{"".join(charts[:CHARTS])}</div>'


def labels_section(labels: Path) -> str:
    """What `compact` says of the clips, beside the emotion that each was made for."""
    wanted = {row["file"]: row["emotion"] for row in rows_of(SPEECH / "metadata.tsv")}
    rows = rows_of(labels)
    said = [name.removeprefix("score:") for name in rows[0] if name.startswith("score:")]
    count = Counter((wanted[Path(row["file"]).name], row["label"]) for row in rows)
    body = ""
    for emotion in sorted(set(wanted.values())):
        cells = "".join(f'<td class="n">{count[emotion, name] or ""}</td>' for name in said)
        body += f"<tr><th>{escape(emotion)}</th>{cells}</tr>"
    note = (
        f"What the model <code>compact</code>, which learnt from people, says of all {len(rows)} clips: rows are the "
        "settings that a synthesizer was given, columns the labels. Nobody speaks here, so there is no right answer."
    )
    return f'<p class="note">{note}</p>{table("<th>made to be</th>" + heads(said), body)}'


def time_section(over_time: Path) -> str:
    """One clip over time: to hear, as a line of labels, and as curves of probabilities."""
    rows = rows_of(over_time)
    clip = SPEECH / Path(rows[0]["file"]).name
    sound = base64.b64encode(clip.read_bytes()).decode()
    middles = [(float(row["start"]) + float(row["end"])) / 2 for row in rows]
    scores = {
        name.removeprefix("score:"): [(at, 100 * float(row[name])) for at, row in zip(middles, rows, strict=True)]
        for name in rows[0]
        if name.startswith("score:")
    }
    return (
        f'<p class="note">{escape(clip.name)}</p><audio controls src="data:audio/ogg;base64,{sound}"></audio>'
        f"{''.join(map(inline_svg, pages_of(timelines(over_time))))}"
        f'<div class="plots">{line_chart(scores, "probability, %", "time in s")}</div>'
    )


def main() -> None:
    """Write `page.html` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    probe = ProbeResult.from_dict(json.loads((folder / "probe.json").read_text(encoding="utf-8")))
    lead = (
        "A tiny model was pretrained on synthetic speech and probed, and the model that ships with the package labelled"
        " the same clips. The speech is synthetic and the training short: what is here shows that everything runs, and"
        " nothing else."
    )
    sections = {
        "Emotion over time": time_section(folder / "over_time.csv"),
        "Labels": labels_section(folder / "labels.csv"),
        "Pretraining": run_section(folder / "run"),
        "Probe of the pretrained features": scored_part(probe),
    }
    body = "".join(f"<section><h2>{escape(title)}</h2>{text}</section>" for title, text in sections.items())
    title = "emotion2vec: what make demo did"
    write_text(folder / "page.html", html_page(title, f'<h1>{title}</h1><p class="lead">{lead}</p>{body}'))
    print((folder / "page.html").resolve())


if __name__ == "__main__":
    main()
