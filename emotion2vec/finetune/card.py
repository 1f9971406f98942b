"""The card of a fine-tuned model: where it comes from, what it learnt from, and what it scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from emotion2vec.checkpoint.card import licence, licence_text
from emotion2vec.checkpoint.native import shipped_models
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.tasks.metrics import format_score

LIMITS = (
    "Scores are those of speech like the one above; on other recordings, languages and speakers expect less, and test "
    "first (`emotion2vec finetune evaluate`). Emotion recognized from a voice is a guess about how it sounds, not "
    "about what a person feels: not for decisions about people."
)


def card(config: FinetuneConfig, data: Mapping[str, Any], validation: ProbeResult, folds: ProbeResult | None) -> str:
    """Write the card, in the form of the Hugging Face Hub.

    Args:
        config: of the run.
        data: what it learnt from, see `emotion2vec.finetune.described.describe_data`.
        validation: scores of the held-out clips.
        folds: scores of cross-validation, where there was one.
    """
    (held,) = validation.results
    origin = shipped_models().get(config.model, Path(config.model))
    terms = licence(origin)
    header: dict[str, Any] = {
        "library_name": "emotion2vec",
        **(terms or {"license": "unknown"}),
        "pipeline_tag": "audio-classification",
    }
    header["tags"] = ["emotion2vec", "speech-emotion-recognition"]
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(header, allow_unicode=True, sort_keys=False)}---",
            f"# {Path(config.run.dir).resolve().name}\n",
            f"{_what(held, validation)} Fine-tuned from `{config.model}`: strategy {config.finetune.strategy}, head "
            f"{config.head.kind}, {config.optim.max_updates} updates of {config.data.clips} clips; all settings are in "
            "`config.yaml`.\n",
            f"## Data\n\n{_data(data)}\n",
            f"## Licence\n\n{_licence(terms, data)}\n",
            f"## Scores\n\n{_scores(held, validation, folds)}\n",
            f"## Limits\n\n{LIMITS}\n",
        ]
    )


def _what(held: HeadScores, validation: ProbeResult) -> str:
    if held.task == "regression":
        return f"Gives {', '.join(validation.about.targets or {})} of speech, in the units of its labels."
    return f"Tells {', '.join(validation.about.classes or ())} in speech."


def _data(data: Mapping[str, Any]) -> str:
    parts = list(data["parts"])
    rows = [["", *(f"{part}: clips / speakers" for part in parts)]]
    for groups in data["groups"].values():
        rows += [[_cell(name), *(_pair(row[part]) for part in parts)] for name, row in groups.items()]
    rows.append(["all", *(_pair(data["parts"][part]) for part in parts)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    held = ", ".join(map(_cell, data["held_out_speakers"]))
    told = f"\n\nHeld out to choose the checkpoint and the temperature: {held}." if held else ""
    left = f" {len(data['left_out'])} listed clips could not be used." if data["left_out"] else ""
    return f"{', '.join(f'`{source}`' for source in data['sources'])}\n\n" + "\n".join(lines) + told + left


def _pair(counts: Mapping[str, int]) -> str:
    return f"{counts['clips']} / {counts['speakers']}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _licence(terms: Mapping[str, str], data: Mapping[str, Any]) -> str:
    start = (
        f"The model that it started from states: {licence_text(terms)}."
        if terms
        else ("The model that it started from states no licence.")
    )
    speech = (
        f"The labelled speech: {data['licence']}."
        if data["licence"]
        else ("The licence of the labelled speech was not stated (`data.licence`).")
    )
    return f"{start} {speech} Both bind who passes these weights on."


def _scores(held: HeadScores, validation: ProbeResult, folds: ProbeResult | None) -> str:
    found = []
    if folds is not None:
        found.append(
            f"Cross-validation ({folds.about.scheme}, {len(folds.results[0].folds)} folds; each tested by a model that "
            f"neither learnt from it nor was chosen by it):\n\n{_table(folds.results[0])}"
        )
        found += _further(folds)
    found.append(
        f"Held-out clips ({held.clips}), which chose the checkpoint and the temperature, so that these scores "
        f"flatter:\n\n{_table(held)}"
    )
    found += _further(validation)
    warnings = [*(folds.about.warnings if folds else ()), *validation.about.warnings[1:]]
    found += ["\n".join(f"- {warning}" for warning in warnings)] if warnings else []
    return "\n\n".join(found)


def _further(scores: ProbeResult) -> list[str]:
    """The heads beside the main one."""
    return [
        f"The same, {_cell(target)} ({one.clips} clips):\n\n{_table(one)}" for target, one in scores.further.items()
    ]


def _table(scores: HeadScores) -> str:
    """All test clips together, with intervals; then every class."""
    lines = [
        f"| {'%' if scores.unit else 'metric'} | all test clips | 95 % over {scores.intervals_over} |",
        "| --- | --- | --- |",
    ]
    for name in (*scores.metrics, *(["MAE"] if not scores.unit and "MAE" not in scores.metrics else [])):
        limits = " to ".join(format_score(limit, scores.unit) for limit in scores.intervals[name])
        limits = "one speaker" if len(scores.by_speaker) == 1 else limits
        lines.append(f"| {name} | {format_score(scores.pooled[name], scores.unit)} | {limits} |")
    for name in ("ECE", "ECE calibrated"):
        if scores.further.get(name) is not None:
            lines.append(f"| {name} | {format_score(scores.further[name], '%')} | |")
    if scores.by_class:
        lines += ["", "| class | clips | precision | recall | F1 |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {_cell(name)} | {int(row['clips'] or 0) // len(scores.by_seed)} | "
            + " | ".join(format_score(row[key], "%") for key in ("precision", "recall", "F1"))
            + " |"
            for name, row in scores.by_class.items()
        ]
    return "\n".join(lines)
