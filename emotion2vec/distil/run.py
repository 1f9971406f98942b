"""A whole distillation from its configuration: the function behind `emotion2vec distil`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.native import newest_checkpoint
from emotion2vec.distil.config import DistilConfig, from_teacher, student_depth, without_effect
from emotion2vec.distil.network import Distiller
from emotion2vec.distil.objective import Distillation
from emotion2vec.distil.teacher import Teacher
from emotion2vec.progress import ProgressCallback
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.run import Say, train
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.strategy import resolve_precision
from emotion2vec.training.trainer import FitResult
from emotion2vec.training.warm_start import Origin, take_weights

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def distil(
    config: DistilConfig, say: Callable[[str], None] = print, on_progress: ProgressCallback | None = None
) -> FitResult:
    """Distil, from the start or from where `run.dir` was interrupted.

    Args:
        config: a checked configuration (`emotion2vec.distil.checks.load_config`).
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after every update. What it raises ends the run when that is saved, and is
            raised here; the same call goes on from there.

    Raises:
        ConfigError: settings that this machine or run folder cannot serve.
        ManifestError: the data cannot be used.
        CheckpointError: the teacher or a checkpoint cannot be read or does not fit.
        StorageError: the run folder cannot be written, or the data is out of reach.
        TrainingError: training cannot go on.
    """

    def build(device: torch.device, say: Say) -> tuple[Distillation, Heard | None]:
        return build_distillation(config, device, say)

    # Layerdrop leaves blocks out of an update.
    known, drops = without_effect(config), config.model.layerdrop > 0
    return train(config, build, say, warnings=known, find_unused=drops, on_progress=on_progress)


def build_distillation(config: DistilConfig, device: torch.device, say: Say) -> tuple[Distillation, Heard | None]:
    """Load the teacher, and initialize the student from the seed, then from somebody's weights if the run is new.

    Returns:
        The objective, and which utterances trained the student already, or its teacher where that says so; None where
        `init.from` does not.

    Raises:
        CheckpointError: the teacher or `init.from` cannot be read, or does not fit the configured student.
        ConfigError: one of them is on a hub whose client is not installed.
    """
    dtype = _TYPES[resolve_precision(config.run.precision, device)]
    teacher = Teacher(config.teacher, config.target.layers, device, dtype, soft=config.loss.soft > 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(config.run.seed, "init"))
        distiller = Distiller(config, teacher.config.width, teacher.labels)
    heard: Heard | None = teacher.heard or Heard()
    origin = _origin(config, teacher)
    if origin is not None and newest_checkpoint(RunFolder(config).path) is None:
        known = take_weights(distiller.student, origin, config.init.min_share, say).heard
        heard = None if known is None and config.init.from_ else heard
        heard = heard.with_more(known.audio, known.labels) if heard is not None and known is not None else heard
    layers = ", ".join(str(layer) for layer in teacher.layers)
    rate = SAMPLE_RATE / teacher.config.grid.stride
    say(f"teacher {config.teacher}: layers {layers} of {teacher.depth}, {teacher.config.width} channels at {rate:g} Hz")
    return Distillation(config, distiller, teacher), heard


def _origin(config: DistilConfig, teacher: Teacher) -> Origin | None:
    """Where the student's weights start from, None for at random."""
    if config.init.from_:
        return Origin(config.init.from_, "init.from", config.init.use)
    if not from_teacher(config):
        return None
    depth = student_depth(config)
    step = max(1, teacher.depth // depth)
    chosen = [layer - 1 for layer in config.init.layers] or [number * step for number in range(depth)]
    setting = "init.layers" if config.init.layers else "init.from_teacher"
    return Origin(config.teacher, f"{setting}, teacher", config.init.use, chosen)
