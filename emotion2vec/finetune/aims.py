"""What a model learns at once: goals, each with its head, and what each counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.goals import ClassGoal, Goal, ValueGoal
from emotion2vec.finetune.joint import JointSettings, parts_of, weighted
from emotion2vec.tasks.class_losses import ClassLoss
from emotion2vec.tasks.scaling import Scaling

MAIN = ""
"""Name of the main goal, whose head is the model's, and by which checkpoints are chosen."""

FIELDS = {"emotion": "label", "sex": "gender"} | {
    name: name
    for name in ("label", "speaker", "gender", "session", "sentence", "intensity", "corpus", "language", "dialogue")
}
"""Classes that corpora know without a column of that name: the field of `Utterance` that each is."""


@dataclass(frozen=True)
class Aim:
    """A goal among those of a model.

    Attributes:
        goal: what is learnt.
        weight: factor on its loss.
        reversal: λ of the gradient reversal in front of its head, which is no part of the model that is left; None
            for a head that stays.
    """

    goal: Goal
    weight: float = 1.0
    reversal: float | None = None


def named(aim: str, metric: str) -> str:
    """A metric's name in logs: the main goal's as it is, others with their aim's in front."""
    return f"{aim}_{metric}" if aim else metric


def class_of(clip: Utterance, target: str) -> str | None:
    """A clip's class of a target, by a column of its table or a field that its corpus knows; None where unknown."""
    known: str | None = clip.labels.get(target) or (getattr(clip, FIELDS[target]) if target in FIELDS else None)
    return known


def has_target(clip: Utterance, target: str, *, values: bool) -> bool:
    """Whether a clip has a class of a target, or all of its values."""
    if values:
        return all(name in clip.values for name in parts_of(target))
    return class_of(clip, target) is not None


def check_known(settings: JointSettings, clips: Sequence[Utterance]) -> None:
    """Check that some clip has each of the targets.

    Raises:
        ConfigError: none has; of all targets at once.
    """
    classes, values = settings.columns
    faults = [
        f"joint has {name}, which no clip has; expected a column {name} of numbers"
        for name in values
        if not any(name in clip.values for clip in clips)
    ]
    faults += [
        f"joint has {name}, which no clip has; expected a column {name}, or one of {', '.join(FIELDS)} where a corpus "
        "knows it"
        for name in classes
        if not any(class_of(clip, name) for clip in clips)
    ]
    if faults:
        raise ConfigError("; ".join(faults))


def taught_by(settings: JointSettings, clips: Sequence[Utterance]) -> JointSettings:
    """The targets that clips can teach, of which they have two classes, or values that differ."""

    def differ(text: str, *, values: bool) -> bool:
        name = weighted(text)[0]
        there = [clip for clip in clips if has_target(clip, name, values=values)]
        if values:
            return all(len({clip.values[part] for clip in there}) > 1 for part in parts_of(name))
        return len({class_of(clip, name) for clip in there}) > 1

    return replace(
        settings,
        classes=[text for text in settings.classes if differ(text, values=False)],
        values=[text for text in settings.values if differ(text, values=True)],
        reversed=[text for text in settings.reversed if differ(text, values=False)],
    )


def further_aims(
    config: FinetuneConfig, by_id: Mapping[str, Utterance], trained: Sequence[Utterance]
) -> dict[str, Aim]:
    """The aims beside the main one, those that are unlearnt last.

    Args:
        config: names and weights of the targets.
        by_id: all clips that train or choose.
        trained: those that train, whose classes there are.

    Raises:
        ConfigError: a target has too few classes or values in training; of all targets at once.
    """
    settings, aims, faults = config.joint, {}, []
    for name, weight in map(weighted, settings.classes):
        aims[name] = Aim(_classes(config, name, by_id, trained), weight)
    for name, weight in map(weighted, settings.values):
        aims[name] = Aim(_values(config, name, by_id, trained), weight)
    for name, factor in map(weighted, settings.reversed):
        aims[name] = Aim(_classes(config, name, by_id, trained), reversal=factor)
    for name, aim in aims.items():
        few = isinstance(aim.goal, ClassGoal) and len(aim.goal.names) < 2
        if few or not aim.goal.weights:
            there = examples(aim.goal.names) if isinstance(aim.goal, ClassGoal) and aim.goal.names else "none"
            faults.append(f"joint has {name}, of which training has {there}, expected at least 2 classes or values")
    if faults:
        raise ConfigError("; ".join(faults))
    return aims


def _classes(
    config: FinetuneConfig, name: str, by_id: Mapping[str, Utterance], trained: Iterable[Utterance]
) -> ClassGoal:
    """Classes of the clips that have one of those that train."""
    names = tuple(sorted({found for clip in trained if (found := class_of(clip, name)) is not None}))
    place = {label: number for number, label in enumerate(names)}
    numbers = {key: place[found] for key, clip in by_id.items() if (found := class_of(clip, name)) in place}
    return ClassGoal(
        names=names,
        weights={key: weight_of(by_id[key], config) for key in numbers},
        numbers=numbers,
        soft={},
        rows=ClassLoss(),
    )


def _values(
    config: FinetuneConfig, name: str, by_id: Mapping[str, Utterance], trained: Iterable[Utterance]
) -> ValueGoal:
    """Values of the clips that have all of them."""
    names = parts_of(name)
    rows = np.array([[clip.values[one] for one in names] for clip in trained if has_target(clip, name, values=True)])
    differ = len(rows) > 0 and bool(np.ptp(rows, axis=0).all())
    values = {
        key: tuple(clip.values[one] for one in names)
        for key, clip in by_id.items()
        if differ and has_target(clip, name, values=True)
    }
    return ValueGoal(
        names=tuple(names),
        weights={key: weight_of(by_id[key], config) for key in values},
        values=values,
        scaling=Scaling.of(rows if differ else np.zeros((1, len(names)))),
    )


def weight_of(clip: Utterance, config: FinetuneConfig) -> float:
    """What the table says that a clip counts."""
    return clip.values.get(config.data.weight, 1.0) if config.data.weight else 1.0
