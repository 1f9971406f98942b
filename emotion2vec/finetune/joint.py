"""What is learnt beside the main goal: which targets, how much each counts, and which of them are unlearnt."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from emotion2vec.settings import option


@dataclass(kw_only=True)
class JointSettings:
    """Targets beside the main goal, each with a head of its own on the same encoder."""

    classes: list[str] = option(
        [], "further classes, each with its weight beside the main goal's 1: gender=0.3, or a column of the table"
    )
    values: list[str] = option(
        [], "further values, learnt by 1 − CCC, each head with its weight: arousal+valence=0.5, columns of the table"
    )
    reversed: list[str] = option(
        [], "classes that the encoder unlearns by gradient reversal, each with its factor λ: speaker=0.1"
    )
    ramp: bool = option(True, "let λ grow from 0 to its value over the run, as 2 / (1 + exp(−10 p)) − 1")

    @property
    def columns(self) -> tuple[list[str], list[str]]:
        """Names of the classes, and of the values."""
        classes = [name for name, _ in map(weighted, [*self.classes, *self.reversed])]
        values = [name for text in self.values for name in parts_of(weighted(text)[0])]
        return classes, values

    @property
    def kept(self) -> list[tuple[str, bool]]:
        """Targets whose heads stay with the model, each with whether it is of values."""
        return [
            *((weighted(text)[0], False) for text in self.classes),
            *((weighted(text)[0], True) for text in self.values),
        ]

    @property
    def targets(self) -> list[tuple[str, bool]]:
        """All targets, each with whether it is of values."""
        return [*self.kept, *((weighted(text)[0], False) for text in self.reversed)]


def weighted(text: str) -> tuple[str, float]:
    """The two sides of TARGET=NUMBER; the number is not finite where there is none."""
    name, _, number = text.rpartition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        return name.strip(), math.nan


def parts_of(target: str) -> list[str]:
    """The values that a head tells together."""
    return [name.strip() for name in target.split("+")]


def check_joint(settings: JointSettings) -> list[str]:
    """List entries that say no target and no weight, and targets that are there twice."""
    faults, names = [], []
    for key in ("classes", "values", "reversed"):
        for text in getattr(settings, key):
            name, weight = weighted(text)
            several = parts_of(name)
            if not all(several) or not math.isfinite(weight) or weight <= 0:
                faults.append(f"joint.{key} has {text!r}, expected TARGET=NUMBER above 0, such as gender=0.3")
            names += several if key == "values" else [name]
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        faults.append(f"joint has {', '.join(twice)} more than once, expected each target in one head")
    if "main" in names:
        faults.append("joint has a target main, which is what metrics call the main goal, expected another name")
    return faults
