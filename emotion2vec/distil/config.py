"""The configuration of a distillation: dataclasses with ranges, read strictly from YAML and dotted overrides.

Blocks are counted from 1 here, as in the literature: layer 3 is what the first three blocks of a network give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from emotion2vec.data.config import MOVING
from emotion2vec.model.config import Emotion2vecConfig, check_model
from emotion2vec.settings import option
from emotion2vec.training.checks import check_listed, idle_listed, told
from emotion2vec.training.config import InitConfig, ListedConfig

FRAMES = ("all", "input", "middle")
"""Frames that a term of the loss counts: all, or those that are masked at the input or in the middle."""


@dataclass(kw_only=True)
class TargetConfig:
    """What of the teacher is learnt, and where in the student: one term of the loss for each of `layers`."""

    layers: list[int] = option([2, 3], "teacher's blocks whose outputs are learnt, counted from 1", ge=1)
    student_layers: list[int] = option(
        [], "student's block that predicts each, counted from 1; empty: the last one for all", ge=1
    )
    frames: list[str] = option([], "frames of each that count: all, or masked ones, input or middle; empty: all")
    weights: list[float] = option([], "weight of each; empty: 1", ge=0)
    features: str = option("", "folder where the teacher's features are kept, computed once; empty: as needed")
    standardize: bool = option(True, "standardize the teacher's channels by running statistics")


DISTANCES = ("mse", "l1")
PREDICTORS = ("linear", "mlp")


@dataclass(kw_only=True)
class DistilLossConfig:
    """How predictions are compared with the teacher's layers."""

    distance: str = option("mse", "distance of frames, mean over channels", choices=DISTANCES)
    predictor: str = option(
        "linear", "from the student's to the teacher's width: linear, or mlp with a norm and GELU", choices=PREDICTORS
    )
    cosine: float = option(0.0, "weight of -log sigmoid of the cosine between prediction and target, per frame", ge=0)
    pooled: float = option(1.0, "weight of the squared error of each clip's mean and deviation over time", ge=0)
    soft: float = option(0.0, "weight of the divergence (KL) from the outputs of the teacher's head", ge=0)
    temperature: float = option(1.0, "what the scores of both heads are divided by before", gt=0)


@dataclass(kw_only=True)
class LoudMaskConfig:
    """Spans of loud frames that the student does not see (Vesper); only where target.frames counts them."""

    share: float = option(0.64, "share of the frames masked, at the input and again in the middle", gt=0, lt=1)
    input_span: int = option(8, "frames per span at the input", ge=1)
    middle_span: int = option(40, "frames per span before the upper half of the blocks", ge=1)
    loud: float = option(0.5, "half of the spans start where the level is over this share of the clip's", gt=0, le=1)
    moderate: float = option(0.2, "the other half start between this share of it and mask.loud", ge=0, le=1)


@dataclass(kw_only=True)
class StudentInitConfig(InitConfig):
    """Where the student's weights start from."""

    from_teacher: bool = option(False, "start from the teacher's CNN and every k-th of its blocks")
    layers: list[int] = option([], "teacher's blocks to start from, counted from 1; empty: every k-th", ge=1)


@dataclass(kw_only=True)
class DistilConfig(ListedConfig):
    """Everything that decides a distillation; `model` is the student."""

    teacher: str = option("", "model that is learnt from: folder, file, hub name or shipped name; required")
    model: Emotion2vecConfig = field(default_factory=Emotion2vecConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    loss: DistilLossConfig = field(default_factory=DistilLossConfig)
    mask: LoudMaskConfig = field(default_factory=LoudMaskConfig)
    init: StudentInitConfig = field(default_factory=StudentInitConfig)


@dataclass(frozen=True)
class Term:
    """One term of the loss.

    Attributes:
        layer: the teacher's block that is learnt, counted from 1.
        student: the student's block that predicts it, counted from 1.
        frames: which frames count, one of `FRAMES`.
        weight: factor on the term.
        name: of what is logged of it.
    """

    layer: int
    student: int
    frames: str
    weight: float
    name: str


def terms(config: DistilConfig) -> list[Term]:
    """The terms of the loss, with what was left empty filled in."""
    target, count = config.target, len(config.target.layers)
    students = target.student_layers or [student_depth(config)] * count
    frames, weights = target.frames or ["all"] * count, target.weights or [1.0] * count
    rows = list(zip(target.layers, students, frames, weights, strict=True))
    times = Counter(layer for layer, *_ in rows)
    return [Term(*row, name=f"{row[0]}" if times[row[0]] == 1 else f"{row[0]}_at_{row[1]}_{row[2]}") for row in rows]


def student_depth(config: DistilConfig) -> int:
    """Blocks of the student, prenet and main ones."""
    return config.model.prenet_depth + config.model.depth


def from_teacher(config: DistilConfig) -> bool:
    """Whether the student starts from the teacher's weights."""
    return config.init.from_teacher or bool(config.init.layers)


def check_config(config: DistilConfig) -> list[str]:
    """List what is wrong that can be told without the teacher; empty when the teacher may be looked at."""
    faults = check_listed(config) + check_model(config.model, "model.")
    if not config.teacher:
        faults.append("teacher is empty, expected a model to learn from, such as teacher=hf:openai/whisper-base")
    faults += _check_terms(config)
    faults += [
        f"augment.{name}_prob is {value:g}, expected 0: it moves sounds away from where the teacher hears them"
        for name in MOVING
        if (value := getattr(config.augment, f"{name}_prob"))
    ]
    if config.mask.moderate > config.mask.loud:
        faults.append(f"mask.moderate is {config.mask.moderate:g}, expected at most mask.loud ({config.mask.loud:g})")
    return faults + _check_init(config)


def _check_terms(config: DistilConfig) -> list[str]:
    target, depth = config.target, student_depth(config)
    if not target.layers:
        return ["target.layers is empty, expected blocks of the teacher, such as target.layers=[2,3]"]
    faults = []
    given: dict[str, Sequence[object]] = {
        name: getattr(target, name) for name in ("student_layers", "frames", "weights")
    }
    for name, values in given.items():
        if values and len(values) != len(target.layers):
            faults.append(
                f"target.{name} has {len(values)} values and target.layers {len(target.layers)}, expected one each"
            )
    unknown = sorted(set(target.frames) - set(FRAMES))
    if unknown:
        faults.append(f"target.frames has {', '.join(unknown)}, expected {', '.join(FRAMES)}")
    beyond = [str(layer) for layer in target.student_layers if layer > depth]
    if beyond:
        faults.append(f"target.student_layers has {', '.join(beyond)}, expected 1 to {depth}, the student's blocks")
    elif target.student_layers and max(target.student_layers) < depth and not config.loss.soft:
        faults.append(
            f"target.student_layers ends with {max(target.student_layers)}, expected the last block ({depth}) among "
            f"them: what is above would learn nothing; or model.depth={max(target.student_layers)}"
        )
    if faults:
        return faults
    rows = [(term.layer, term.student, term.frames) for term in terms(config)]
    if len(set(rows)) < len(rows):
        faults.append("target.layers names one layer twice for the same block and frames, expected each once")
    if "middle" in target.frames and depth < 2:
        faults.append(f"target.frames has middle and the student {depth} block, expected at least 2")
    return faults


def _check_init(config: DistilConfig) -> list[str]:
    faults, depth = [], student_depth(config)
    if config.init.from_ and from_teacher(config):
        faults.append(f"init.from is {config.init.from_} and init.from_teacher or init.layers is on, expected one")
    if config.init.layers and len(config.init.layers) != depth:
        faults.append(f"init.layers has {len(config.init.layers)} values, expected one for each of {depth} blocks")
    if len(set(config.init.layers)) < len(config.init.layers):
        faults.append(f"init.layers is {config.init.layers}, expected every block once")
    return faults


def without_effect(config: DistilConfig) -> list[str]:
    """Settings that differ from their defaults and do nothing beside the others, each with the reason."""
    optim, masked = config.optim, {*config.target.frames} - {"all"}
    frozen = not (optim.cnn_grad_scale and optim.cnn_lr_scale)
    starts = bool(config.init.from_) or from_teacher(config)
    no_start = "the student starts at random"
    rules = [
        (
            "optim.cnn_grad_scale",
            not frozen and optim.cnn_grad_scale != 1,
            "Adam divides gradients by their own size again; optim.cnn_lr_scale slows the CNN",
        ),
        ("optim.cnn_lr_scale", optim.cnn_grad_scale == 0, "optim.cnn_grad_scale=0 freezes the CNN"),
        ("loss.temperature", config.loss.soft == 0, "loss.soft is 0"),
        ("init.use", not starts, no_start),
        ("init.min_share", not starts, no_start),
        *((f"guard.{name}", True, "it watches over pretraining") for name in ("min_target_std", "min_prediction_std")),
        *((f"mask.{name}", not masked, "target.frames counts all") for name in ("share", "loud", "moderate")),
        *((f"mask.{kind}_span", kind not in masked, f"target.frames counts no {kind}") for kind in FRAMES[1:]),
    ]
    return told(config, [*rules, *idle_listed(config)])
