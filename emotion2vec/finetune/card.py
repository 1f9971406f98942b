"""The card of a fine-tuned model: where it comes from, what it learnt from, and what it scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion2vec.checkpoint.card import licence, licence_text
from emotion2vec.checkpoint.native import shipped_models
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.probe.card import LIMITS, card_header, cell, score_table, told_of
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores

_AGAIN = (
    " Then a second model, this one, began anew and learnt from all of these clips, those held out too, for as many "
    "updates as the first."
)
_FIRST = "\n\nThe scores of held-out clips are those of the first model, which did not learn from them."


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
    return "\n".join(
        [
            card_header(terms),
            f"# {Path(config.run.dir).resolve().name}\n",
            f"{told_of(validation)} Fine-tuned from `{config.model}`: strategy {config.finetune.strategy}, head "
            f"{config.head.kind}, {config.optim.max_updates} updates of {config.data.clips} clips; all settings are in "
            f"`config.yaml`.{_stages(config)}\n",
            f"## Data\n\n{_data(data)}{_AGAIN * config.validation.refit}\n",
            f"## Licence\n\n{_licence(terms, data)}\n",
            f"## Scores\n\n{_scores(held, validation, folds)}{_FIRST * config.validation.refit}\n",
            f"## Limits\n\n{LIMITS}\n",
        ]
    )


def _stages(config: FinetuneConfig) -> str:
    """What was trained before, where this was done in stages."""
    gmp, clusters = config.gmp, config.clusters
    if not (gmp.enabled and gmp.retrain):
        return ""
    layers, counts = (", ".join(map(str, values)) for values in (clusters.layers, clusters.counts))
    layers = f"layers {layers}" if layers else "layers at half, three quarters and the end"
    told = (
        f" It began at `{config.model}` retrained to tell clusters of frames (k-means, {layers}, K = {counts}) "
        f"of a seed model of emotion{' and gender' * (gmp.gender > 0)} (GMP-ATL)."
    )
    transductive = " Clusters and retraining heard the audio of test clips too: scores are **transductive**."
    return told + transductive * gmp.transductive


def _data(data: Mapping[str, Any]) -> str:
    parts = list(data["parts"])
    rows = [["", *(f"{part}: clips / speakers" for part in parts)]]
    for groups in data["groups"].values():
        rows += [[cell(name), *(_pair(row[part]) for part in parts)] for name, row in groups.items()]
    rows.append(["all", *(_pair(data["parts"][part]) for part in parts)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    held = ", ".join(map(cell, data["held_out_speakers"]))
    told = f"\n\nHeld out to choose the checkpoint and the temperature: {held}." if held else ""
    left = f" {len(data['left_out'])} listed clips could not be used." if data["left_out"] else ""
    return f"{', '.join(f'`{source}`' for source in data['sources'])}\n\n" + "\n".join(lines) + told + left


def _pair(counts: Mapping[str, int]) -> str:
    return f"{counts['clips']} / {counts['speakers']}"


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
            f"neither learnt from it nor was chosen by it):\n\n{score_table(folds.results[0])}"
        )
        found += _further(folds)
    found.append(
        f"Held-out clips ({held.clips}), which chose the checkpoint and the temperature, so that these scores "
        f"flatter:\n\n{score_table(held)}"
    )
    found += _further(validation)
    warnings = [*(folds.about.warnings if folds else ()), *validation.about.warnings[1:]]
    found += ["\n".join(f"- {warning}" for warning in warnings)] if warnings else []
    return "\n\n".join(found)


def _further(scores: ProbeResult) -> list[str]:
    """The heads beside the main one."""
    return [
        f"The same, {cell(target)} ({one.clips} clips):\n\n{score_table(one)}" for target, one in scores.further.items()
    ]
