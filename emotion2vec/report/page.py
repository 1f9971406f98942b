"""The report of a benchmark: one HTML page that works offline, and tables for papers and programs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.files import check_file_name, check_writable, write_json, write_text
from emotion2vec.probe.benchmark.plan import BenchmarkPlan
from emotion2vec.probe.features.names import make_extractor
from emotion2vec.report.charts import agreement, confusion_table, layer_bars, mapping_table, scatter
from emotion2vec.report.embedding import embed
from emotion2vec.report.exports import (
    columns,
    format_difference,
    format_interval,
    format_marks,
    format_p,
    overview,
    task_name,
    to_csv,
    to_latex,
    to_markdown,
)
from emotion2vec.report.published import published_rows
from emotion2vec.tasks.metrics import format_score
from emotion2vec.version import PROBED_WITH, versions

Document = dict[str, Any]

PAGE_SUFFIXES = (".html", ".htm")
"""What a page may end in."""


def write_report(
    plan: BenchmarkPlan, documents: Sequence[Document], failures: Sequence[dict[str, str]], command: str
) -> None:
    """Write `report.html`, `results.json`, `.csv`, `.md` and `.tex` into the plan's output folder."""
    folder, rows = Path(plan.output), overview(documents)
    document = {"plan": plan.to_dict(), "failures": list(failures), "results": list(documents)}
    write_json(folder / "results.json", document)
    for name, text in (
        ("results.csv", to_csv(rows)),
        ("results.md", to_markdown(rows)),
        ("results.tex", to_latex(rows)),
        ("report.html", page(plan, documents, rows, failures, command)),
    ):
        write_text(folder / name, text)


def page(
    plan: BenchmarkPlan,
    documents: Sequence[Document],
    rows: Sequence[dict[str, Any]],
    failures: Sequence[dict[str, str]],
    command: str,
) -> str:
    """Lay out the whole page; `rows` are the overview of `documents`."""
    corpora = list(dict.fromkeys(document["title"] for document in documents))
    sections = [
        _corpus_section(
            name,
            [document for document in documents if document["title"] == name],
            [row for row in rows if row["corpus"] == name],
        )
        for name in corpora
    ]
    links = "".join(f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name in corpora)
    return _document(
        plan.title,
        f'<h1>{escape(plan.title)}</h1><p class="lead">{_introduction(documents)}</p><nav><ul>{links}</ul></nav>'
        f"{_failures(failures)}{''.join(sections)}{_reproduce(plan, documents, command)}",
    )


def _introduction(documents: Sequence[Document]) -> str:
    """What is done and what the metrics mean, of those that occur."""
    tasks = {document["task"] for document in documents}
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


def write_plots(
    clipset: Corpus,
    features: Sequence[str],
    output: Path,
    *,
    layer: str = "last",
    pooling: str | None = None,
    cache: str | Path | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, str]:
    """Write a page of nothing but the plots of some features of a corpus.

    Returns:
        Files of clips that could not be drawn, and why.

    Raises:
        ConfigError: a feature is not known, or the file cannot be written.
        ManifestError: fewer than three clips can be read.
    """
    check_file_name(output, "output", PAGE_SUFFIXES)
    check_writable(output)
    blocks, unread = "", {}
    for name in features:
        extractor = make_extractor(name, layer=layer, pooling=pooling, device=device)
        found = embed(clipset, extractor, cache, progress)
        unread.update(found["unread"])
        blocks += f"<h2>{escape(name)}</h2>{embedding_plots(found)}"
    title = f"{clipset.name}: features in two dimensions"
    write_text(output, _document(title, f"<h1>{escape(title)}</h1>{blocks}"))
    return unread


def _document(title: str, body: str) -> str:
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def _corpus_section(name: str, documents: Sequence[Document], rows: Sequence[dict[str, Any]]) -> str:
    return (
        f'<section><h2 id="{_anchor(name)}">{escape(name)}</h2><p class="note">{escape(_facts(documents[0]))}</p>'
        f"{_warnings(documents)}{_overview_table(documents, rows)}{_mapping(documents[0])}{_balance(documents[0])}"
        f"{''.join(_details(document) for document in documents)}{_embeddings(documents)}</section>"
    )


def _facts(document: Document) -> str:
    """What is predicted, from how much."""
    what = (
        f"{len(document['classes'])} classes" if "classes" in document else f"values: {', '.join(document['targets'])}"
    )
    text = f"{document['clips']} clips, {document['speakers'] or 'unknown'} speakers; {what}"
    if "conversation" in document:
        talk = document["conversation"]
        text += (
            f"; {talk['predicted']} of {talk['turns']} turns in {talk['dialogues']} dialogues are predicted, each from "
            f"up to {document['context']} turns before it"
        )
    return f"{text}; folds: {document['scheme']} ({len(document['folds'])})"


def _warnings(documents: Sequence[Document]) -> str:
    found = list(dict.fromkeys(warning for document in documents for warning in document["warnings"]))
    if not found:
        return '<p class="note">The audit of the folds found nothing to warn of.</p>'
    items = "".join(f"<li>{escape(warning)}</li>" for warning in found)
    return f'<div class="warn"><strong>Read the scores with this in mind</strong><ul>{items}</ul></div>'


def _overview_table(documents: Sequence[Document], rows: Sequence[dict[str, Any]]) -> str:
    names, main = columns(rows[0]), rows[0]["main"]
    best = max(row[main] for row in rows)
    body = ""
    for row in sorted(rows, key=lambda row: -row[main]):
        body += (
            f"<tr{' class=best' if row[main] == best else ''}><td>{escape(row['feature'])}{format_marks(row)}</td>"
            f"<td>{escape(row['head'])}</td>{_numbers(row, names, row['unit'])}"
            f'<td class="n">{format_interval(row)}</td><td class="extra">{_span(row)}</td>'
            f'<td class="n">{_difference(row)}</td><td class="n">{format_p(row["p"])}</td></tr>'
        )
    usual = "most frequent class" if documents[0]["task"] == "classification" else "mean of training"
    for kind, label in (("speaker", "knowing only the speaker"), ("majority", usual)):
        scores = documents[0]["audit"]["baselines"][kind]
        body += (
            f'<tr class="base"><td>{label}</td><td>no audio</td>{_numbers(scores, names, rows[0]["unit"])}<td></td>'
            '<td class="extra"></td><td></td><td></td></tr>'
        )
    if task_name(documents[0]) == "classification":
        heads = {document["head"] for document in documents}
        body += published_rows(
            documents[0]["dataset"], documents[0]["scheme"], heads, names, documents[0]["settings"]["standardize"]
        )
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    return (
        f'<div class="wide"><table><thead><tr><th>feature</th><th>head</th>{head}<th class="n">{main}, 95 %</th>'
        f'<th class="extra">0 to {100 if rows[0]["unit"] == "%" else 1}</th><th class="n">difference</th>'
        '<th class="n">p</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="note">95 %: bootstrap over {documents[0]["intervals_over"]} of the {main} of all test clips '
        "together, drawn as a bar, with the mean over folds as a mark. "
        f"difference: of the mean {main} over folds to the best feature of the same head, which has none itself, and "
        "its interval by bootstrap over speakers (or folds). p: paired permutation test of that difference, swapping "
        "whole speakers (or folds); not corrected for the number of comparisons.</p>"
    )


def _difference(row: dict[str, Any]) -> str:
    """The difference to the best feature with its interval."""
    difference, interval = format_difference(row)
    return f"{difference} ({interval})" if difference else ""


def _numbers(scores: dict[str, Any], names: Sequence[str], unit: str) -> str:
    """Cells of some metrics; those that are not known are dashes."""
    return "".join(
        f'<td class="n">{format_score(scores[name], unit)}</td>' if name in scores else '<td class="n">–</td>'
        for name in names
    )


def _span(row: dict[str, Any]) -> str:
    """The interval of the main metric and its mean, as marks on a line from nothing to perfect."""
    main, full = row["main"], 1 if row["unit"] == "%" else 100
    low, high, mean = (min(max(row[name] * full, 0), 100) for name in (f"{main}_low", f"{main}_high", main))
    return (
        f'<span class="span" title="{format_interval(row)}"><b style="left:{low:.1f}%;right:{100 - high:.1f}%"></b>'
        f'<i style="left:{mean:.1f}%"></i></span>'
    )


def _balance(document: Document) -> str:
    """Clips per class, or mean and deviation of values, in every fold."""
    classes = "classes" in document
    names = document["classes"] if classes else list(document["targets"])
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
    body = ""
    for fold in document["audit"]["folds"]:
        cells = "".join(
            f'<td class="n">{_amount(fold["train"].get(name, 0))} / {_amount(fold["test"].get(name, 0))}</td>'
            for name in names
        )
        body += f"<tr><td>{escape(fold['name'])}</td>{cells}</tr>"
    title = "Clips per class and fold" if classes else "Mean ± standard deviation of the labels per fold"
    return (
        f"<details><summary>{title}, training / test</summary>"
        f'<div class="wide"><table><thead><tr><th>fold</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        "</details>"
    )


def _mapping(document: Document) -> str:
    if "mapping" not in document:
        return ""
    return (
        "<details open><summary>What the corpora's labels became</summary>"
        f"{mapping_table(document['mapping'], document['classes'])}</details>"
    )


def _amount(found: Any) -> str:
    return f"{found['mean']:.2f} ± {found['std']:.2f}" if isinstance(found, dict) else str(found)


def _details(document: Document) -> str:
    names, unit = document["metrics"], document["unit"]
    head = "".join(f'<th class="n">{escape(metric)}</th>' for metric in names)
    body = ""
    for fold in document["folds"]:
        chosen = "; ".join(_chosen(row) for row in fold["chosen"])
        body += (
            f'<tr><td>{escape(fold["name"])}</td><td class="n">{fold["clips"]}</td>'
            f'{_numbers(fold, names, unit)}<td class="chosen">{chosen}</td></tr>'
        )
    clips = sum(fold["clips"] for fold in document["folds"])
    for label, count, scores in (
        ("mean over folds", "", document["mean"]),
        ("standard deviation", "", document["std"]),
        ("all test clips together", clips, document["pooled"]),
    ):
        body += (
            f'<tr class="total"><td>{label}</td><td class="n">{count}</td>{_numbers(scores, names, unit)}<td></td></tr>'
        )
    if "points" in document:
        found = "".join(agreement(pairs, name) for name, pairs in document["points"].items())
        shown, what = f'<div class="plots">{found}</div>', "agreement"
    else:
        shown, what = (
            confusion_table(document["confusion"], document["classes"], len(document["by_seed"])),
            "confusions",
        )
    title = f"{document['feature']} · {document['head']}: folds and {what}"
    return (
        f'<details><summary>{escape(title)}</summary><div class="wide"><table><thead><tr><th>fold</th>'
        f'<th class="n">clips</th>{head}<th>chosen in training</th></tr></thead><tbody>{body}</tbody></table></div>'
        f"{shown}{_layer_weights(document)}</details>"
    )


def _chosen(details: dict[str, Any]) -> str:
    """Settings that training chose; layer weights have a chart of their own."""
    shown = {name: value if isinstance(value, list) else [value] for name, value in details.items()}
    return ", ".join(
        f"{escape(name.replace('_', ' '))} {' '.join(f'{value:g}' for value in values)}"
        for name, values in shown.items()
        if name != "layer_weights"
    )


def _layer_weights(document: Document) -> str:
    weights = [row["layer_weights"] for fold in document["folds"] for row in fold["chosen"] if "layer_weights" in row]
    if not weights:
        return ""
    mean = [sum(column) / len(weights) for column in zip(*weights, strict=True)]
    return (
        f'<div class="plots">{layer_bars(mean, "learned weight of each layer from the first, mean over folds")}</div>'
    )


def _embeddings(documents: Sequence[Document]) -> str:
    drawn: dict[str, dict[str, Any]] = {}
    for document in documents:
        drawn.setdefault(document["feature"], document["embedding"])
    blocks = "".join(f"<h3>{escape(feature)}</h3>{embedding_plots(found)}" for feature, found in drawn.items())
    return f"<details open><summary>Features in two dimensions</summary>{blocks}</details>"


def embedding_plots(found: dict[str, Any]) -> str:
    """Plots of one feature by emotion, arousal, speaker or what `embed` gives: UMAP where it was computed, and PCA."""
    explained = f"PCA, {100 * found['explained']:.0f} % of the variance"
    kinds = [(name, shown) for name, shown in (("umap", "UMAP"), ("pca", explained)) if name in found]
    plots = "".join(
        '<div class="plots">'
        + "".join(scatter(found[name], members, f"{shown}, by {group}") for group, members in found["groups"].items())
        + "</div>"
        for name, shown in kinds
    )
    missing = "" if "umap" in found else " UMAP is drawn too where it is installed: pip install umap-learn"
    return f'{plots}<p class="note">{len(found["pca"])} clips, their vectors standardized per channel.{missing}</p>'


def _failures(failures: Sequence[dict[str, str]]) -> str:
    if not failures:
        return ""
    where: dict[tuple[str, str], list[str]] = {}
    for row in failures:  # a feature that is not to be had fails on every corpus
        where.setdefault((row["feature"], row["reason"]), []).append(row["corpus"])
    items = ""
    for (feature, reason), corpora in where.items():
        named = " · ".join(part for part in (", ".join(corpora), feature) if part)
        items += f"<li>{escape(named)}: {escape(reason)}</li>"
    return f'<div class="warn"><strong>Could not be done</strong><ul>{items}</ul></div>'


def _reproduce(plan: BenchmarkPlan, documents: Sequence[Document], command: str) -> str:
    hashes = {f"{row['title']} · {row['feature']}": row["request"] for row in documents}
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


def _anchor(name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in name.lower())
