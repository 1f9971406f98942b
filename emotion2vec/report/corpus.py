"""The part of a benchmark's page about one corpus."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from emotion2vec.probe.benchmark.results import Combination
from emotion2vec.probe.embedding import Embedding
from emotion2vec.report.charts import layer_bars, mapping_table, scatter
from emotion2vec.report.exports import Row, format_difference, format_interval, format_marks
from emotion2vec.report.published import published_rows
from emotion2vec.report.score_section import fold_table, judged_closer, numbers, shots_part
from emotion2vec.tasks.significance import Comparison, format_p
from emotion2vec.units import counted


def corpus_section(combinations: Sequence[Combination], rows: Sequence[Row]) -> str:
    """Lay out everything about a corpus; `rows` are the overview of its combinations."""
    first = combinations[0]
    return (
        f'<section><h2 id="{anchor(first.title)}">{escape(first.title)}</h2>'
        f'<p class="note">{escape(_facts(first))}</p>'
        f"{_warnings(combinations)}{_overview_table(combinations, rows)}{_mapping(first)}{_balance(first)}"
        f"{''.join(_details(done) for done in combinations)}{_embeddings(combinations)}</section>"
    )


def anchor(title: str) -> str:
    """What links to the section of a corpus are called."""
    return "".join(char if char.isalnum() else "-" for char in title.lower())


def _facts(done: Combination) -> str:
    """What is predicted, from how much."""
    about = done.about
    what = f"values: {', '.join(about.targets)}" if about.targets else f"{len(about.classes or ())} classes"
    text = f"{counted(about.clips, 'clip')}, {about.people}; {what}"
    if about.conversation:
        talk = about.conversation
        text += (
            f"; {talk['predicted']} of {talk['turns']} turns in {talk['dialogues']} dialogues are predicted, each from "
            f"up to {counted(about.context, 'turn')} before it"
        )
    return f"{text}; folds: {about.scheme} ({len(done.scores.folds)})"


def _warnings(combinations: Sequence[Combination]) -> str:
    found = list(dict.fromkeys(warning for done in combinations for warning in done.about.warnings))
    if not found:
        return '<p class="note">The audit of the folds found nothing to warn of.</p>'
    items = "".join(f"<li>{escape(warning)}</li>" for warning in found)
    return f'<div class="warn"><strong>Read the scores with this in mind</strong><ul>{items}</ul></div>'


def _overview_table(combinations: Sequence[Combination], rows: Sequence[Row]) -> str:
    first, names, main, unit = combinations[0], rows[0].columns, rows[0].main, rows[0].unit
    means = {id(row): row.scores[main] or 0.0 for row in rows}
    body = ""
    for row in sorted(rows, key=lambda row: -means[id(row)]):
        best = means[id(row)] == max(means.values())
        body += (
            f"<tr{' class=best' if best else ''}><td>{escape(row.feature)}{format_marks(row)}</td>"
            f"<td>{escape(row.head)}</td>{numbers(row.scores, names, unit)}"
            f'<td class="n">{format_interval(row)}</td><td class="extra">{_span(row)}</td>'
            f'<td class="n">{_difference(row)}</td><td class="n">{format_p(row.against)}</td></tr>'
        )
    usual = "most frequent class" if first.scores.task == "classification" else "mean of training"
    for kind, label in (("speaker", "knowing only the speaker"), ("majority", usual)):
        body += (
            f'<tr class="base"><td>{label}</td><td>no audio</td>'
            f"{numbers(first.about.audit['baselines'][kind], names, unit)}<td></td>"
            '<td class="extra"></td><td></td><td></td></tr>'
        )
    if first.task == "classification":
        heads = {done.scores.head for done in combinations}
        about = first.about
        body += published_rows(about.dataset, about.scheme, heads, names, about.settings["standardize"])
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    return (
        f'<div class="wide"><table><thead><tr><th>feature</th><th>head</th>{head}<th class="n">{main}, 95 %</th>'
        f'<th class="extra">0 to {100 if unit == "%" else 1}</th><th class="n">difference</th>'
        '<th class="n">p</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="note">95 %: bootstrap over {first.scores.intervals_over} of the {main} of all test clips '
        "together, drawn as a bar, with the mean over folds as a mark. "
        f"difference: of the mean {main} over folds to the best feature of the same head, which has none itself, and "
        "its interval by bootstrap over speakers (or folds). p: paired permutation test of that difference, swapping "
        f"whole speakers (or folds){_least([row.against for row in rows])}; not corrected for the number of "
        "comparisons.</p>"
    )


def _least(found: Sequence[Comparison | None]) -> str:
    """The least p that so few pairs can give, in words."""
    compared = [one.least_p for one in found if one is not None]
    return f", of which so few give {max(compared):.3g} at least" if compared else ""


def _difference(row: Row) -> str:
    """The difference to the best feature with its interval."""
    difference, interval = format_difference(row)
    return f"{difference} ({interval})" if difference else ""


def _span(row: Row) -> str:
    """The interval of the main metric and its mean, as marks on a line from nothing to perfect."""
    full = 1 if row.unit == "%" else 100
    low, high, mean = (min(max(value * full, 0), 100) for value in (*row.interval, row.scores[row.main] or 0.0))
    return (
        f'<span class="span" title="{format_interval(row)}"><b style="left:{low:.1f}%;right:{100 - high:.1f}%"></b>'
        f'<i style="left:{mean:.1f}%"></i></span>'
    )


def _balance(done: Combination) -> str:
    """Clips per class, or mean and deviation of values, in every fold."""
    names = list(done.about.targets or done.about.classes or ())
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    body = ""
    for fold in done.about.audit["folds"]:
        cells = "".join(
            f'<td class="n">{_amount(fold["train"].get(name, 0))} / {_amount(fold["test"].get(name, 0))}</td>'
            for name in names
        )
        body += f"<tr><td>{escape(fold['name'])}</td>{cells}</tr>"
    title = "Mean ± standard deviation of the labels per fold" if done.about.targets else "Clips per class and fold"
    return (
        f"<details><summary>{title}, training / test</summary>"
        f'<div class="wide"><table><thead><tr><th>fold</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        "</details>"
    )


def _mapping(done: Combination) -> str:
    if not done.about.mapping:
        return ""
    return (
        "<details open><summary>What the corpora's labels became</summary>"
        f"{mapping_table(done.about.mapping, done.about.classes or ())}</details>"
    )


def _amount(found: Any) -> str:
    return f"{found['mean']:.2f} ± {found['std']:.2f}" if isinstance(found, dict) else str(found)


def _details(done: Combination) -> str:
    scores = done.scores
    what = "confusions" if scores.points is None else "agreement"
    title = f"{done.feature} · {scores.head}: folds and {what}"
    return (
        f"<details><summary>{escape(title)}</summary>{fold_table(scores)}"
        f"{judged_closer(scores, done.about.classes or ())}{shots_part(scores)}{_layer_weights(done)}</details>"
    )


def _layer_weights(done: Combination) -> str:
    chosen = [row for fold in done.scores.folds for row in fold.chosen]
    weights = [row["layer_weights"] for row in chosen if "layer_weights" in row]
    if not weights:
        return ""
    mean = [sum(column) / len(weights) for column in zip(*weights, strict=True)]
    return (
        f'<div class="plots">{layer_bars(mean, "learned weight of each layer from the first, mean over folds")}</div>'
    )


def _embeddings(combinations: Sequence[Combination]) -> str:
    drawn: dict[str, Embedding] = {}
    for done in combinations:
        drawn.setdefault(done.feature, done.embedding)
    blocks = "".join(f"<h3>{escape(feature)}</h3>{embedding_plots(found)}" for feature, found in drawn.items())
    return f"<details open><summary>Features in two dimensions</summary>{blocks}</details>"


def embedding_plots(found: Embedding) -> str:
    """Plots of one feature by everything that points are grouped by: UMAP where it was computed, and PCA."""
    kinds = [] if found.umap is None else [(found.umap, "UMAP")]
    kinds.append((found.pca, f"PCA, {100 * found.explained:.0f} % of the variance"))
    plots = "".join(
        '<div class="plots">'
        + "".join(scatter(points, members, f"{shown}, by {group}") for group, members in found.groups.items())
        + "</div>"
        for points, shown in kinds
    )
    missing = " UMAP is drawn too where it is installed: pip install umap-learn" if found.umap is None else ""
    return f'{plots}<p class="note">{len(found.pca)} clips, their vectors standardized per channel.{missing}</p>'
