"""Starting from somebody's weights: what fits is taken, by name, and the rest is said.

N: utterance tokens. D: model width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.pretrain.ema import Teacher
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.training.config import InitConfig

# Dimensions that weights of the same shapes may be used with, and mean something else.
_SAME = ("frontend", "mels", "kernels", "strides", "norm", "positions", "heads")
_BLOCK = re.compile(r"backbone\.(prenet|blocks)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class WarmStart:
    """What was taken from where.

    Attributes:
        source: where from.
        share: share of the network's numbers that were taken, decoder not counted.
        taken: names that were taken, decoder included.
        new: names that keep their initialization.
        left: what the file holds beyond that.
        heard: which utterances trained it, where it says so.
    """

    source: str
    share: float
    taken: list[str]
    new: list[str]
    left: list[str]
    heard: Heard | None = None

    def lines(self) -> list[str]:
        """The report, a line each."""
        lines = [f"started from {self.source}: {100 * self.share:.1f} % of the network's weights"]
        for label, names in (("taken", self.taken), ("new", self.new), ("left there", self.left)):
            lines += [f"  {label}: {grouped(names)}"] if names else []
        return lines


def warm_start(pretrainer: Pretrainer, config: InitConfig, say: Callable[[str], None]) -> WarmStart:
    """Give the student and, where it fits, the decoder the weights of `init.from`; the teacher starts as the student.

    Blocks are numbered through, so that a file that splits them into prenet and main blocks differently fits too.
    The optimizer always starts anew.

    Args:
        pretrainer: with its initialization, which what is new keeps.
        config: `from`, `use` and `min_share`.
        say: gets the report, line by line.

    Raises:
        CheckpointError: the file cannot be read, means other dimensions, or shares less than `min_share`.
    """
    source = read_source(config.from_)
    student = pretrainer.student
    _check_dimensions(config.from_, source.own, student.config)
    offered = _renumbered(source.weights(config.use), source.own, student.config)
    taken, differing = _take(student, offered)
    numbers = {name: value.numel() for name, value in student.state_dict().items()}
    share = sum(numbers[name] for name in taken) / sum(numbers.values())
    if share < config.min_share:
        raise CheckpointError(
            f"init.from is {config.from_}, which shares {100 * share:.1f} % of the network's weights, expected at "
            f"least init.min_share ({100 * config.min_share:g} %):\n" + "\n".join(f"  {line}" for line in differing)
        )
    decoder = pretrainer.decoder.state_dict()
    decoder_taken = list(decoder) if not _fitting(source.decoder, decoder)[1] else []  # part of a decoder is none
    if decoder_taken:
        _take(pretrainer.decoder, source.decoder)
    pretrainer.teacher = Teacher(student, frontend=pretrainer.teacher.frontend is not None)
    left = [name for name in offered if name not in taken]
    left += [f"decoder.{name}" for name in source.decoder if name not in decoder_taken]
    left += [f"the teacher ({len(source.teacher)} weights)"] if source.teacher and config.use == "student" else []
    result = WarmStart(
        source=f"{config.from_} ({source.format}, {config.use})",
        share=share,
        taken=[*taken, *(f"decoder.{name}" for name in decoder_taken)],
        new=[name for name in numbers if name not in taken]
        + [f"decoder.{name}" for name in decoder if name not in decoder_taken],
        left=left + source.left,
        heard=source.heard,
    )
    for line in [*result.lines(), *source.notes]:
        say(line)
    return result


def _check_dimensions(name: str, there: Emotion2vecConfig, here: Emotion2vecConfig) -> None:
    differing = [
        f"  model.{key} is {getattr(there, key)} there and {getattr(here, key)} here"
        for key in _SAME
        if getattr(there, key) != getattr(here, key)
    ]
    if differing:
        raise CheckpointError(f"init.from is {name}, whose dimensions differ:\n" + "\n".join(differing))


def _renumbered(weights: Mapping[str, Tensor], there: Emotion2vecConfig, here: Emotion2vecConfig) -> dict[str, Tensor]:
    """Name the blocks by our split into prenet and main blocks, counted from the prenet's first."""

    def rename(name: str) -> str:
        match = _BLOCK.fullmatch(name)
        if not match:
            return name
        number = int(match[2]) + (there.prenet_depth if match[1] == "blocks" else 0)
        if number < here.prenet_depth:
            return f"backbone.prenet.{number}.{match[3]}"
        return f"backbone.blocks.{number - here.prenet_depth}.{match[3]}"

    return {rename(name): value for name, value in weights.items()}


@torch.no_grad()
def _take(module: nn.Module, offered: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy what fits into a module; its names, and a line for everything that keeps its initialization."""
    own = module.state_dict()
    taken, differing = _fitting(offered, own)
    for name in taken:
        own[name].copy_(offered[name])
    return taken, differing


def _fitting(offered: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """The names that have the same shape, and a line for everything expected that has not."""
    taken, differing = [], []
    for name, value in expected.items():
        there = offered.get(name)
        if there is not None and there.shape == value.shape:
            taken.append(name)
        else:
            shown = "is missing" if there is None else f"has shape {tuple(there.shape)}"
            differing.append(f"{name} {shown} there, expected {tuple(value.shape)}")
    return taken, differing


def grouped(names: Iterable[str]) -> str:
    """Names in short: `backbone.prenet.0.norm1.weight` and its like as `backbone.prenet (48)`; a few in full."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = name if " " in name else ".".join(name.split(".")[: 1 if name.startswith("decoder.") else 2])
        groups.setdefault(key, []).append(name)
    return ", ".join(members[0] if len(members) == 1 else f"{key} ({len(members)})" for key, members in groups.items())
