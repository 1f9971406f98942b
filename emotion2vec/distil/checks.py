"""What must fit between teacher and student, found before anything is computed, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emotion2vec.audio.frames import SAMPLE_RATE, FrameGrid
from emotion2vec.checkpoint.hub import is_hub_name
from emotion2vec.checkpoint.opening import find, read_source
from emotion2vec.checkpoint.source import Source
from emotion2vec.distil.config import DistilConfig, check_config, from_teacher, student_depth
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.foreign_config import ForeignConfig
from emotion2vec.training.config import load
from emotion2vec.training.warm_start import differing_dimensions


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> DistilConfig:
    """Read a configuration from YAML, then apply overrides such as `optim.lr=1e-4`, and look at the teacher.

    Raises:
        ConfigError: all faults at once: unknown keys with near matches, wrong types, values out of range, and what
            does not fit among student, teacher and data.
    """
    return load(DistilConfig, path, overrides, check_all)


def check_all(config: DistilConfig) -> list[str]:
    """List everything that is wrong; a teacher on a hub is only asked for when nothing else is."""
    faults = check_config(config)
    if not config.teacher or (faults and is_hub_name(config.teacher) and not Path(config.teacher).exists()):
        return faults
    try:
        find(config.teacher)
        source = read_source(config.teacher)
    except (CheckpointError, ConfigError) as error:
        return [*faults, f"teacher cannot be read: {error}"]
    return faults + teacher_faults(config, source)


def teacher_faults(config: DistilConfig, source: Source) -> list[str]:
    """List what does not fit between a teacher and the configuration."""
    theirs, faults = source.config, []
    depth = theirs.prenet_depth + theirs.depth
    for name, layers in (("target.layers", config.target.layers), ("init.layers", config.init.layers)):
        beyond = [str(layer) for layer in layers if layer > depth]
        if beyond:
            faults.append(
                f"{name} has {', '.join(beyond)}, expected 1 to {depth}, the blocks of teacher {config.teacher}"
            )
    if from_teacher(config) and not config.init.layers and student_depth(config) > depth:
        faults.append(
            f"init.from_teacher is on and the student has {student_depth(config)} blocks, expected at most {depth}, "
            f"those of teacher {config.teacher}"
        )
    if from_teacher(config) and isinstance(theirs, ForeignConfig):
        settings = [
            *["init.layers=[]"] * bool(config.init.layers),
            *["init.from_teacher=false"] * config.init.from_teacher,
        ]
        faults.append(
            f"the student starts from teacher {config.teacher}, a {theirs.type} of transformers, whose weights no "
            f"network of ours takes; expected {' '.join(settings)}, to start at random or from a checkpoint (init.from)"
        )
    elif from_teacher(config) and (differences := differing_dimensions(source.own, config.model)):
        shown = "; ".join(differences)
        faults.append(f"the student starts from teacher {config.teacher}, whose dimensions differ: {shown}")
    if config.loss.soft and not source.labels:
        faults.append(f"loss.soft is {config.loss.soft:g}, but teacher {config.teacher} has no head; expected one")
    return faults + _grid_faults(config, theirs.grid) + _length_faults(config, theirs.max_frames, theirs.grid)


def _grid_faults(config: DistilConfig, theirs: FrameGrid) -> list[str]:
    if len(config.model.kernels) != len(config.model.strides):  # which is a fault of its own
        return []
    ours = config.model.grid
    if ours.stride == theirs.stride:
        return []
    return [
        f"teacher {config.teacher} has {SAMPLE_RATE / theirs.stride:g} frames per second (one every {theirs.stride} "
        f"samples) and the student {SAMPLE_RATE / ours.stride:g} (one every {ours.stride}), expected the same: "
        f"model.strides is {config.model.strides}"
    ]


def _length_faults(config: DistilConfig, known: int, theirs: FrameGrid) -> list[str]:
    faults, samples = [], config.data.max_samples
    pairs = [(f"teacher {config.teacher}", known, theirs)]
    if len(config.model.kernels) == len(config.model.strides):
        pairs.append(("the student (model.max_frames)", config.model.max_frames, config.model.grid))
    for who, most, grid in pairs:
        if most and grid.count(samples) > most:
            faults.append(
                f"data.max_samples gives {grid.count(samples)} frames, expected at most the {most} that {who} knows"
            )
    return faults
