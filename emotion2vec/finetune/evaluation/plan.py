"""What a model is tested on, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from emotion2vec.finetune.config import LabelledData, check_labelled
from emotion2vec.finetune.evaluation.settings import RobustnessSettings, check_robustness
from emotion2vec.settings import check_ranges, option
from emotion2vec.training.config import load

KNOWN = ("refuse", "leave-out", "keep")


@dataclass(kw_only=True)
class EvaluationPlan(RobustnessSettings):
    """A model, and labelled speech to test it on."""

    model: str = option("compact", "model with a head: what `--model` takes elsewhere")
    data: LabelledData = field(default_factory=LabelledData)
    split: str = option(
        "", "only clips of this part of the split that a column or data.split gives: test, or a fold; empty for all"
    )
    known: str = option(
        "refuse", "clips that the model learnt from: refuse them, leave them out, or keep them", choices=KNOWN
    )
    text_encoder: str = option("", "where a model that reads texts finds its text encoder, if not where it was")
    seed: int = option(0, "of what is drawn for robustness", ge=0)
    device: str = option("auto", "cpu, cuda, cuda:1, mps, ...")
    output: str = option("", "folder of scores.json and report.html; empty for tests/NAME in the model's folder")


def load_plan(overrides: Sequence[str] = ()) -> EvaluationPlan:
    """Read a plan from `key=value` words.

    Raises:
        ConfigError: all faults at once, as `emotion2vec.finetune.config.load_config`.
    """
    return load(EvaluationPlan, None, overrides, check_plan)


def check_plan(plan: EvaluationPlan) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the test can start."""
    faults = [*check_ranges(plan), *check_labelled(plan.data), *check_robustness(plan)]
    if plan.data.targets:
        faults.append(f"data.targets is {', '.join(plan.data.targets)}, expected none: the model says what it gives")
    return faults
