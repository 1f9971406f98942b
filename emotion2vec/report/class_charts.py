"""Tables of single classes, and of groups of clips."""

from __future__ import annotations

from html import escape

from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.metrics import format_score


def class_table(scores: HeadScores) -> str:
    """Precision, recall, F1 and area under the ROC curve of each class, and how far probabilities can be believed."""
    names = ("precision", "recall", "F1")
    body = ""
    for label, row in (scores.by_class or {}).items():
        cells = [format_score(value, "%") for value in (*map(row.get, names), scores.further.get(f"AUC {label}"))]
        body += f"<tr><th>{escape(label)}</th>{''.join(f'<td class=n>{cell}</td>' for cell in cells)}</tr>"
    head = "".join(f'<th class="n">{name}</th>' for name in (*names, "AUC"))
    errors = {name: scores.further.get(name) for name in ("ECE", "ECE calibrated")}
    shown = {name: format_score(value, "%") for name, value in errors.items()}
    note = (
        f"Classes one by one, in %. Expected calibration error: {shown['ECE']} %; with a temperature found on "
        f"validation: {shown['ECE calibrated']} %."
    )
    return (
        f'<p class="note">{note}</p><div class="wide"><table><thead><tr><th>class</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def group_table(scores: HeadScores) -> str:
    """Scores of groups of clips; nothing where none are known."""
    if not scores.by_group:
        return ""
    body = ""
    metrics = [*scores.metrics, *(["MAE"] if not scores.unit and "MAE" not in scores.metrics else [])]
    for by, groups in scores.by_group.items():
        for name, row in groups.items():
            cells = "".join(f'<td class="n">{format_score(row[metric], scores.unit)}</td>' for metric in metrics)
            clips = int(row["clips"] or 0) // len(scores.by_seed)
            body += f'<tr><td>{escape(by)}</td><th>{escape(name)}</th><td class="n">{clips}</td>{cells}</tr>'
    head = "".join(f'<th class="n">{escape(metric)}</th>' for metric in metrics)
    return (
        '<p class="note">Groups of test clips.</p><div class="wide"><table><thead><tr><th>by</th><th>group</th>'
        f'<th class="n">clips</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
