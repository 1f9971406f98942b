"""Starting from somebody's weights: what fits is taken, by name, and the rest is said.

N: utterance tokens. D: model width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec

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


@dataclass(frozen=True)
class Origin:
    """Where weights come from, and what of them is meant.

    Attributes:
        name: checkpoint or hub name.
        setting: the setting that names it, for messages.
        use: the `student`'s weights of it, or the EMA `teacher`'s.
        blocks: for each block of ours, prenet first, which block of it, counted from 0; None for those at the bottom.
    """

    name: str
    setting: str
    use: str = "student"
    blocks: Sequence[int] | None = None


def take_weights(
    student: Emotion2vec,
    origin: Origin,
    min_share: float,
    say: Callable[[str], None],
    decoder: nn.Module | None = None,
) -> WarmStart:
    """Give a network and, where it fits, a decoder the weights of a checkpoint.

    Blocks are numbered through, so that a file that splits them into prenet and main blocks differently fits too.
    The optimizer always starts anew.

    Args:
        student: with its initialization, which what is new keeps.
        origin: the checkpoint.
        min_share: share of the network's numbers that must be in it, decoder not counted.
        say: gets the report, line by line.
        decoder: with its initialization; a part of a decoder is none.

    Raises:
        CheckpointError: the file cannot be read, means other dimensions, or shares less than `min_share`.
    """
    source = read_source(origin.name)
    if differences := differing_dimensions(source.own, student.config):
        shown = "\n".join(f"  {line}" for line in differences)
        raise CheckpointError(f"{origin.setting} is {origin.name}, whose dimensions differ:\n{shown}")
    offered = _renumbered(source.weights(origin.use), source.own, student.config, origin.blocks)
    taken, differing = _take(student, offered)
    numbers = {name: value.numel() for name, value in student.state_dict().items()}
    share = sum(numbers[name] for name in taken) / sum(numbers.values())
    if share < min_share:
        raise CheckpointError(
            f"{origin.setting} is {origin.name}, which shares {100 * share:.1f} % of the network's weights, expected "
            f"at least init.min_share ({100 * min_share:g} %):\n" + "\n".join(f"  {line}" for line in differing)
        )
    own = {} if decoder is None else decoder.state_dict()
    decoder_taken = list(own) if not _fitting(source.decoder, own)[1] else []
    if decoder is not None and decoder_taken:
        _take(decoder, source.decoder)
    left = [name for name in offered if name not in taken]
    left += [f"decoder.{name}" for name in source.decoder if name not in decoder_taken]
    left += [f"the teacher ({len(source.teacher)} weights)"] if source.teacher and origin.use == "student" else []
    result = WarmStart(
        source=f"{origin.name} ({source.format}, {origin.use})",
        share=share,
        taken=[*taken, *(f"decoder.{name}" for name in decoder_taken)],
        new=[name for name in numbers if name not in taken]
        + [f"decoder.{name}" for name in own if name not in decoder_taken],
        left=left + source.left,
        heard=source.heard,
    )
    for line in [*result.lines(), *source.notes]:
        say(line)
    return result


def differing_dimensions(there: object, here: Emotion2vecConfig) -> list[str]:
    """Dimensions that weights of the same shapes may be used with, and mean something else, as they differ."""
    if not isinstance(there, Emotion2vecConfig):
        return [f"it has those of a {type(there).__name__}, expected a network of the architectures of ours"]
    same = [name for name in _SAME if name != "mels" or "logmel" in (there.frontend, here.frontend)]
    return [
        f"model.{key} is {getattr(there, key)} there and {getattr(here, key)} here"
        for key in same
        if getattr(there, key) != getattr(here, key)
    ]


def _renumbered(
    weights: Mapping[str, Tensor],
    there: Emotion2vecConfig,
    here: Emotion2vecConfig,
    blocks: Sequence[int] | None,
) -> dict[str, Tensor]:
    """Name the blocks by our split into prenet and main blocks, counted from the prenet's first.

    Those that are not meant keep the names that they have there, with what they are before it, and so fit nothing.
    """

    def rename(name: str) -> str:
        match = _BLOCK.fullmatch(name)
        if not match:
            return name
        number = int(match[2]) + (there.prenet_depth if match[1] == "blocks" else 0)
        if blocks is not None:
            if number not in blocks:
                return f"unused block {number}.{match[3]}"
            number = list(blocks).index(number)
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
