"""What is learnt of labels, and what is learnt with it: settings, and which of them cannot work or do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from emotion2vec.model.config import ANGLES
from emotion2vec.settings import option
from emotion2vec.training.checks import Idle
from emotion2vec.training.config import RunConfig

ATTACKS = ("none", "fgsm", "pgd")


@dataclass(kw_only=True)
class LossSettings:
    """The loss of the main goal's classes, and what is learnt with it."""

    smoothing: float = option(0.0, "label smoothing: share of a label that all classes get", ge=0, lt=1)
    class_weights: float = option(
        0.0, "clips count (N / (C · n of their class)) to this power; 0 for alike, 1 for classes alike", ge=0, le=2
    )
    focal: float = option(0.0, "γ of the focal loss, by which what is right already counts less", ge=0)
    adjustment: float = option(0.0, "τ of logit adjustment, which keeps rare classes from being kept down", ge=0)
    margin: float = option(
        0.0,
        "m of AM-Softmax: what the cosine with a clip's own class is lowered by in training; of heads of angles",
        ge=0,
        lt=2,
    )
    mixup: float = option(
        0.0,
        "α of manifold mixup: in each batch pairs of what heads' last layers read are mixed, and their labels as much, "
        "by a share from Beta(α, α); 0 for none",
        ge=0,
    )
    contrast: float = option(
        0.0, "weight of a supervised contrast of what the head's last layer reads, over the whole update", ge=0
    )
    temperature: float = option(0.1, "temperature of the contrast", gt=0)
    adversarial: str = option(
        "none",
        "waveforms that are changed to raise the loss and learnt too: fgsm takes one step, pgd several",
        choices=ATTACKS,
    )
    epsilon: float = option(0.01, "largest such change of a sample, as a share of the clip's root mean square", gt=0)
    steps: int = option(3, "steps of pgd", ge=1)
    adversarial_share: float = option(0.5, "share of the changed clips in the loss", gt=0, lt=1)


class Labelled(Protocol):
    """What losses need to know of labelled data."""

    targets: list[str]
    clips: int


def check_losses(loss: LossSettings, run: RunConfig, data: Labelled, accumulate: int, head: str) -> list[str]:
    """List losses that cannot be had of these clips, or in this way.

    Args:
        loss: which.
        run: on which devices, and how.
        data: how many clips there are in an update, and whether values are learnt.
        accumulate: batches of an update on each device.
        head: kind of the head.
    """
    faults, parts = [], run.devices * run.nodes * accumulate
    if loss.margin and head not in ANGLES:
        faults.append(f"loss.margin is {loss.margin:g} and head.kind {head}, expected {' or '.join(ANGLES)}")
    if loss.contrast and data.targets:
        faults.append(f"loss.contrast is {loss.contrast:g} and data.targets are values, expected 0: it needs classes")
    if loss.contrast and data.clips < 2:
        faults.append(f"loss.contrast is {loss.contrast:g} and data.clips {data.clips}, expected at least 2")
    if loss.mixup and data.clips < 2 * parts:
        faults.append(
            f"loss.mixup is {loss.mixup:g} and data.clips {data.clips} for {parts} batches, expected two clips in each"
        )
    if loss.adversarial != "none" and run.strategy == "fsdp":
        faults.append(f"loss.adversarial is {loss.adversarial} and run.strategy fsdp, expected ddp")
    if loss.adversarial != "none" and run.compile:
        faults.append(f"loss.adversarial is {loss.adversarial} and run.compile on, expected run.compile=false")
    return faults


def idle_losses(loss: LossSettings, *, values: bool) -> list[Idle]:
    """Settings that may do nothing beside the others; `values` where no classes are learnt."""
    of_classes = ("smoothing", "class_weights", "focal", "adjustment", "margin")
    return [
        *((f"loss.{name}", values, "data.targets are values, learnt by 1 − CCC") for name in of_classes),
        ("loss.temperature", not loss.contrast, "loss.contrast is 0"),
        ("loss.epsilon", loss.adversarial == "none", "loss.adversarial is none"),
        ("loss.adversarial_share", loss.adversarial == "none", "loss.adversarial is none"),
        ("loss.steps", loss.adversarial != "pgd", "loss.adversarial is not pgd"),
    ]
