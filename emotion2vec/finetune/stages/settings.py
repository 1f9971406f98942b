"""Settings of training in stages (GMP-ATL; arXiv 2405.02151), and which of them cannot work or do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from emotion2vec.clusters.settings import ClusterSettings, HiddenSettings, check_clusters
from emotion2vec.finetune.joint import JointSettings, weighted
from emotion2vec.settings import option
from emotion2vec.training.checks import Idle

GENDER = "gender"


@dataclass(kw_only=True)
class StageSettings:
    """A seed model, clusters of its frames, retraining on them, and then what the other sections say."""

    enabled: bool = option(
        False,
        "train in stages: A, a seed model of emotion and gender; B, clusters of its frames; C, the pretrained model is "
        "retrained on them; D, this run begins at that one",
    )
    gender: float = option(0.5, "λ: weight of gender beside emotion in the seed model; 0 for none", ge=0)
    retrain: bool = option(True, "stages A to C; false leaves them out, and D begins at the pretrained model")
    transductive: bool = option(
        False, "clusters and retraining hear clips that are tested too, without their labels, which marks every score"
    )


@dataclass(kw_only=True)
class RetrainSettings(HiddenSettings):
    """Stage C: the pretrained model says the cluster of every frame, or of frames that are hidden from it."""

    share: float = option(0.0, "share of the frames that are hidden, in spans; 0 for none", ge=0, lt=1)
    lr: float = option(5e-4, "peak learning rate", gt=0)
    warmup: float = option(0.2, "share of the updates that are warm-up", ge=0, lt=1)
    epochs: float = option(10.0, "passes over the clips", gt=0)
    weight_decay: float = option(0.01, "decoupled weight decay", ge=0)
    clip_norm: float = option(10.0, "largest gradient norm; 0 leaves gradients alone", ge=0)


@dataclass(frozen=True)
class Stages:
    """The three sections.

    Attributes:
        gmp: which stages.
        clusters: of stage B.
        retrain: of stage C.
    """

    gmp: StageSettings
    clusters: ClusterSettings
    retrain: RetrainSettings


def seed_joint(joint: JointSettings, gmp: StageSettings) -> JointSettings:
    """What the seed model learns beside the main goal; gender, where it learns that, it does not unlearn."""
    if not gmp.gender:
        return joint
    classes, against = (
        [text for text in texts if weighted(text)[0] != GENDER] for texts in (joint.classes, joint.reversed)
    )
    return replace(joint, classes=[*classes, f"{GENDER}={gmp.gender:g}"], reversed=against)


def taught_joint(joint: JointSettings, gmp: StageSettings) -> JointSettings:
    """All that some model of a run learns beside the main goal."""
    return seed_joint(joint, gmp) if gmp.enabled and gmp.retrain else joint


def check_stages(stages: Stages, *, refit: bool, shots: Sequence[int], head: str) -> list[str]:
    """List what cannot work among the settings, and beside others.

    Args:
        stages: the three sections.
        refit: whether a second model is trained of all clips.
        shots: numbers of clips that folds are trained with too.
        head: which head begins.
    """
    if not stages.gmp.enabled:
        return []
    faults = check_clusters(stages.clusters, "clusters.")
    if refit:
        faults.append("gmp.enabled and validation.refit are on, expected one of them")
    if stages.gmp.retrain and head in ("own", "rows"):
        faults.append(
            f"gmp.enabled is on and finetune.head {head}, expected new or auto: a retrained model has no head"
        )
    if shots:
        faults.append(f"gmp.enabled is on and evaluate.shots {shots}, expected none: so few clips make no clusters")
    return faults


def idle_stages(stages: Stages, *, frozen: bool) -> list[Idle]:
    """Settings that may do nothing beside the others; `frozen` where no block learns."""
    gmp = stages.gmp
    off = not (gmp.enabled and gmp.retrain)
    why = "gmp.retrain is false" if gmp.enabled else "gmp.enabled is false"
    rules: list[Idle] = [("gmp.retrain", not gmp.enabled, "gmp.enabled is false")]
    rules += [(f"gmp.{name}", off, why) for name in ("gender", "transductive")]
    rules += [(f"clusters.{name}", off, why) for name in vars(stages.clusters)]
    rules += [(f"retrain.{name}", off, why) for name in vars(stages.retrain)]
    hidden = "retrain.share is 0"
    rules += [(f"retrain.{name}", not off and not stages.retrain.share, hidden) for name in ("span", "seen")]
    return [
        *rules,
        ("gmp.gender", not off and frozen, "finetune.strategy is frozen: the seed model's blocks learn nothing"),
    ]
