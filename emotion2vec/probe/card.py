"""Cards of models, in the form of the Hugging Face Hub: their parts, and the card of a probe's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.metrics import format_score
from emotion2vec.units import counted

LIMITS = (
    "Scores are those of speech like the one above; on other recordings, languages and speakers expect less, and test "
    "first (`emotion2vec finetune evaluate`). Emotion recognized from a voice is a guess about how it sounds, not "
    "about what a person feels: not for decisions about people."
)


def probed_card(name: str, clips: int, result: ProbeResult, terms: Mapping[str, str]) -> str:
    """The card of a feature's model with the head of a probe.

    Args:
        name: of the model.
        clips: that its head learned from, or was chosen by.
        result: scores of the folds, of this feature and head alone.
        terms: licence of the feature's model (`checkpoint.card.licence`).
    """
    (scores,) = result.results
    about = result.about
    warnings = "".join(f"\n- {warning}" for warning in about.warnings)
    return "\n".join(
        [
            card_header(terms),
            f"# {name}\n",
            f"{told_of(result)} The encoder of `{scores.feature}` as it is, with a head ({scores.head}) that learned "
            f"from {counted(clips, 'clip')} of {about.dataset}.\n",
            f"## Scores\n\nOf heads that were trained in the same way on other speakers or clips ({about.scheme}, "
            f"{len(scores.folds)} folds), not of this one, which knows all clips:\n\n{score_table(scores)}\n{warnings}"
            "\n",
            f"## Limits\n\n{LIMITS}\n",
        ]
    )


def card_header(terms: Mapping[str, str]) -> str:
    """The part between dashes that starts a card.

    Args:
        terms: fields of the licence; empty for none that is known.
    """
    header: dict[str, Any] = {
        "library_name": "emotion2vec",
        **(terms or {"license": "unknown"}),
        "pipeline_tag": "audio-classification",
    }
    header["tags"] = ["emotion2vec", "speech-emotion-recognition"]
    return f"---\n{yaml.safe_dump(header, allow_unicode=True, sort_keys=False)}---"


def told_of(result: ProbeResult) -> str:
    """A sentence on what a model gives, by one of its results."""
    if result.results[0].task == "regression":
        return f"Gives {', '.join(result.about.targets or {})} of speech, in the units of its labels."
    return f"Tells {', '.join(result.about.classes or ())} in speech."


def score_table(scores: HeadScores) -> str:
    """A table of the scores of all test clips together, with intervals, and one of every class."""
    lines = [
        f"| {'%' if scores.unit else 'metric'} | all test clips | 95 % over {scores.intervals_over} |",
        "| --- | --- | --- |",
    ]
    for name in (*scores.metrics, *(["MAE"] if not scores.unit and "MAE" not in scores.metrics else [])):
        limits = " to ".join(format_score(limit, scores.unit) for limit in scores.intervals[name])
        limits = "one speaker" if len(scores.by_speaker) == 1 else limits
        lines.append(f"| {name} | {format_score(scores.pooled[name], scores.unit)} | {limits} |")
    for name in ("ECE", "ECE calibrated", "PER"):
        if scores.further.get(name) is not None:
            lines.append(f"| {name} | {format_score(scores.further[name], '%')} | |")
    if scores.by_class:
        lines += ["", "| class | clips | precision | recall | F1 |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {cell(name)} | {int(row['clips'] or 0) // len(scores.by_seed)} | "
            + " | ".join(format_score(row[key], "%") for key in ("precision", "recall", "F1"))
            + " |"
            for name, row in scores.by_class.items()
        ]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text as a cell of a table in Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")
