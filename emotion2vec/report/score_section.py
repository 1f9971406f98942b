"""The scores of one feature or model as parts of a page: folds, classes, groups, conditions, single clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from emotion2vec.probe.scores import HeadScores
from emotion2vec.report.charts import agreement, confusion_table
from emotion2vec.report.class_charts import class_table, group_table
from emotion2vec.report.lines import line_chart
from emotion2vec.tasks.metrics import format_score


def numbers(scores: Mapping[str, Any], names: Sequence[str], unit: str) -> str:
    """Cells of some metrics; those that are not known are dashes."""
    return "".join(
        f'<td class="n">{format_score(scores[name], unit)}</td>' if name in scores else '<td class="n">–</td>'
        for name in names
    )


def table(head: str, body: str) -> str:
    """A table that scrolls by itself where it is too wide."""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def heads(names: Sequence[str]) -> str:
    """Head cells of columns of numbers."""
    return "".join(f'<th class="n">{escape(name)}</th>' for name in names)


def summary_table(scores: HeadScores) -> str:
    """All test clips together with intervals, and means over folds where there are several."""
    several, alone = len(scores.folds) > 1, len(scores.by_speaker) == 1
    body = ""
    for name in shown_metrics(scores):
        limits = "–" if alone else " to ".join(format_score(limit, scores.unit) for limit in scores.intervals[name])
        cells = f'<td class="n">{format_score(scores.pooled[name], scores.unit)}</td><td class="n">{limits}</td>'
        if several:
            mean, std = (format_score(found[name], scores.unit) for found in (scores.mean, scores.std))
            cells += f'<td class="n">{mean} ± {std}</td>'
        body += f"<tr><th>{escape(name)}</th>{cells}</tr>"
    head = f"<th>{'in %' if scores.unit else 'metric'}</th>" + heads(["all test clips", "95 %"])
    note = f"95 %: bootstrap over {scores.intervals_over} of all test clips together."
    if alone:
        note = "One speaker says nothing about others: there is no interval."
    if several:
        head += heads(["mean ± deviation over folds"])
    return f'{table(head, body)}<p class="note">{note}</p>'


def shown_metrics(scores: HeadScores) -> list[str]:
    """Metrics that tables show, and the mean absolute error of values."""
    return [*scores.metrics, *(["MAE"] if not scores.unit and "MAE" not in scores.metrics else [])]


def fold_table(scores: HeadScores) -> str:
    """Every fold, with what was chosen in training."""
    names, unit = scores.metrics, scores.unit
    body = ""
    for fold in scores.folds:
        chosen = "; ".join(_chosen(row) for row in fold.chosen)
        body += (
            f'<tr><td>{escape(fold.name)}</td><td class="n">{fold.clips}</td>'
            f'{numbers(fold.scores, names, unit)}<td class="chosen">{chosen}</td></tr>'
        )
    for label, count, found in (
        ("mean over folds", "", scores.mean),
        ("standard deviation", "", scores.std),
        ("all test clips together", scores.clips, scores.pooled),
    ):
        body += (
            f'<tr class="total"><td>{label}</td><td class="n">{count}</td>{numbers(found, names, unit)}<td></td></tr>'
        )
    return table(f"<th>fold</th>{heads(['clips', *names])}<th>chosen in training</th>", body)


def _chosen(details: Mapping[str, Any]) -> str:
    """What training chose; layer weights have a chart of their own, sizes no interest."""
    shown = {name: value if isinstance(value, list) else [value] for name, value in details.items()}
    return ", ".join(
        f"{escape(name.replace('_', ' '))} {' '.join(_plain(value) for value in values)}"
        for name, values in shown.items()
        if name not in ("layer_weights", "parameters")
    )


def _plain(value: Any) -> str:
    return escape(value) if isinstance(value, str) else f"{value:g}"


def judged_closer(scores: HeadScores, classes: Sequence[str]) -> str:
    """Confusions, classes, ROC and reliability, or agreement of values; then groups."""
    if scores.points is not None:
        charts = "".join(agreement(pairs, name) for name, pairs in scores.points.items())
        shown = f'<div class="plots">{charts}</div>'
    else:
        shown = confusion_table(scores.confusion or [], classes, len(scores.by_seed)) + class_table(scores)
        shown += f'<div class="plots">{roc_curves(scores)}{reliability_diagram(scores)}</div>'
    if (rate := scores.further.get("PER")) is not None:
        shown += f'<p class="note">Phonemes: {format_score(rate, "%")} % wrong (PER), all folds together.</p>'
    return shown + group_table(scores)


def reliability_diagram(scores: HeadScores) -> str:
    """Draw the share that is right over confidence, as trained and calibrated, with the line where both agree."""
    errors = {"as trained": scores.further.get("ECE"), "calibrated": scores.further.get("ECE calibrated")}
    return line_chart(
        {
            name: [(row["confidence"], row["right"]) for row in rows]
            for name, rows in (scores.reliability or {}).items()
        },
        "Reliability: share that is right, in % (up), over the probability that is given",
        "probability, %",
        notes={name: f"calibration error {format_score(error, '%')} %" for name, error in errors.items()},
        square=True,
    )


def roc_curves(scores: HeadScores) -> str:
    """Draw the ROC curve of each class against the rest, with the line of guesses."""
    curves = {name: [(100 * x, 100 * y) for x, y in points] for name, points in sorted((scores.roc or {}).items())}
    areas = {name: f"AUC {format_score(scores.further.get(f'AUC {name}'), '%')}" for name in curves}
    title = "ROC: share of a class's clips that are found, in % (up), over that of the others that are taken for it"
    return line_chart(curves, title, "others that are taken for it, %", notes=areas, square=True)


def speaker_table(scores: HeadScores) -> str:
    """Every speaker, the worst first; nothing where speakers are unknown."""
    if not scores.by_speaker:
        return ""
    seeds, names = len(scores.by_seed), shown_metrics(scores)
    ranked = sorted(scores.by_speaker.items(), key=lambda pair: (pair[1][scores.main] or 0.0, pair[0]))
    body = "".join(
        f'<tr><th>{escape(name)}</th><td class="n">{int(row.get("clips") or 0) // seeds}</td>'
        f"{numbers(row, names, scores.unit)}</tr>"
        for name, row in ranked
    )
    head = f"<th>speaker</th>{heads(['clips', *names])}"
    count = f"{len(ranked)} speaker{'s' * (len(ranked) > 1)}"
    return f"<details><summary>{count}, the hardest first</summary>{table(head, body)}</details>"


def robustness_part(scores: HeadScores) -> str:
    """Scores under conditions, with what is lost by each, and a curve for kinds with several levels."""
    if not scores.robustness:
        return ""
    clean, names = scores.robustness[0], shown_metrics(scores)
    body = ""
    for row in scores.robustness:
        lost = "" if row is clean else format_score(row[scores.main] - clean[scores.main], scores.unit)
        low, high = (format_score(limit, scores.unit) for limit in row["interval"])
        what = "as they are" if row is clean else row["kind"]
        body += (
            f"<tr{' class=total' if row is clean else ''}><td>{escape(what)}</td><td>{escape(row['level'])}</td>"
            f'{numbers(row, names, scores.unit)}<td class="n">{low} to {high}</td><td class="n">{lost}</td></tr>'
        )
    head = f"<th>condition</th><th>level</th>{heads([*names, f'{scores.main}, 95 %', 'change'])}"
    return (
        "<h3>Robustness</h3>"
        f'<p class="note">The same clips under conditions; what is drawn is the same for all models and levels.</p>'
        f'{table(head, body)}<div class="plots">{condition_curves(scores.robustness, scores.main, scores.unit)}</div>'
    )


def condition_curves(conditions: Sequence[Mapping[str, Any]], main: str, unit: str) -> str:
    """Draw the main metric over the levels of every kind of condition that has several, from the plain score on."""
    clean, *others = conditions
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in others:
        kinds.setdefault(row["kind"], []).append(row)
    charts = ""
    for kind, levels in kinds.items():
        if len(levels) < 2:
            continue
        rows = [clean, *levels]
        level = levels[0]["level"]
        charts += line_chart(
            {main: [(float(place), row[main]) for place, row in enumerate(rows)]},
            f"{main}{f', {unit}' if unit else ''} under {kind}",
            " ".join(word for word in level.split() if word != _level(level)),  # SNR dB, T60 s
            bands={main: [tuple(row["interval"]) for row in rows]},
            named=[(float(place), _level(row["level"]) or "none") for place, row in enumerate(rows)],
        )
    return charts


def _level(text: str) -> str:
    """The number of a level, such as 10 of `SNR 10 dB`."""
    return next((word for word in text.split() if any(char.isdigit() for char in word) and word[0] != "T"), text)


def shots_part(scores: HeadScores) -> str:
    """The n-shot curve, with its numbers; nothing where none was made."""
    if not scores.shots:
        return ""
    names, main = shown_metrics(scores), scores.main
    body = ""
    for shot in scores.shots:
        low, high = (format_score(limit, scores.unit) for limit in shot.interval)
        body += (
            f"<tr><th>{shot.count or 'all'}</th>{numbers(shot.scores, names, scores.unit)}"
            f'<td class="n">{low} to {high}</td><td class="n">{format_score(shot.std, scores.unit)}</td></tr>'
        )
    head = f"<th>clips of each class</th>{heads([*names, f'{main}, 95 %', 'deviation over seeds'])}"
    places = [(float(place), shot) for place, shot in enumerate(scores.shots)]
    chart = line_chart(
        {main: [(place, shot.scores[main]) for place, shot in places]},
        f"{main}{f', {scores.unit}' if scores.unit else ''} against labelled clips of each class",
        "labelled clips of each class",
        bands={main: [shot.interval for shot in scores.shots]},
        named=[(place, str(shot.count or "all")) for place, shot in places],
    )
    seeds = scores.shots[0].seeds
    note = (
        f"{seeds} draws of clips{'' if seeds > 1 else ', too few to tell how much the draw matters'}; the tests stay."
    )
    return f'<h3>Few labelled clips</h3><p class="note">{note}</p>{table(head, body)}<div class="plots">{chart}</div>'


def hardest_part(scores: HeadScores) -> str:
    """Clips that were missed by most."""
    if not scores.hardest:
        return ""
    body = ""
    values = "error" in scores.hardest[0]
    for row in scores.hardest:
        if values:
            told = "".join(
                f"<td>{escape(', '.join(f'{name} {value:g}' for name, value in row[key].items()))}</td>"
                for key in ("truth", "predicted")
            )
            told += f'<td class="n">{row["error"]:.2f}</td>'
        else:
            told = f"<td>{escape(row['truth'])}</td><td>{escape(row['predicted'])}</td>"
            told += f'<td class="n">{100 * row["probability"]:.1f}</td>'
            told += f'<td class="n">{100 * row["probability_of_truth"]:.1f}</td>'
        body += f"<tr><td>{escape(row['file'])}</td><td>{escape(row['speaker'] or '–')}</td>{told}</tr>"
    last = ["error, in standard deviations"] if values else ["probability, %", "of the true one, %"]
    what = "values were missed most" if values else "another class was given with the highest probability"
    head = f"<th>file</th><th>speaker</th><th>true</th><th>predicted</th>{heads(last)}"
    return f"<details><summary>Hardest clips: {what}</summary>{table(head, body)}</details>"
