"""A whole run from its configuration, whatever its objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch

from emotion2vec.checkpoint.heard import Heard, utterance_key
from emotion2vec.data.config import DataConfig, augment_warnings
from emotion2vec.data.corpus import TrainingCorpus, open_corpus
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.devices import is_host
from emotion2vec.errors import TrainingError
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.checks import batches_per_device
from emotion2vec.training.computing import describe_computing
from emotion2vec.training.config import ListedConfig, TrainingConfig
from emotion2vec.training.loggers import build_loggers
from emotion2vec.training.objective import Objective
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.speech import Speech
from emotion2vec.training.strategy import build_fabric, process_grid
from emotion2vec.training.trainer import FitResult, Trainer
from emotion2vec.training.validation import HeldOut, Validation
from emotion2vec.units import counted, duration

Say = Callable[[str], None]
"""Shows a line of text to the user."""

Build = Callable[[torch.device, Say], tuple[Objective, Heard | None]]
"""Makes the objective for a device, and tells which utterances its model knows; None where that cannot be told."""


def train(
    config: TrainingConfig,
    build: Build,
    say: Say,
    *,
    warnings: Sequence[str] = (),
    find_unused: bool = False,
    speech: Speech | None = None,
    on_progress: ProgressCallback | None = None,
) -> FitResult:
    """Train, from the start or from where `run.dir` was interrupted.

    Args:
        config: a checked configuration.
        build: makes the objective, once devices and data are known to be there.
        say: is silent on all processes but the main one.
        warnings: what a user should know of the configuration.
        find_unused: whether an update may leave out parameters that train, the same ones on every process.
        speech: what to train on; by default what `data.train` lists.
        on_progress: called after every update in the main process; what it raises ends the run, saved, and is raised.

    Raises:
        ConfigError: settings that this machine or run folder cannot serve.
        ManifestError: the data cannot be used.
        CheckpointError: a checkpoint cannot be read or does not fit.
        StorageError: the run folder cannot be written, or the data is out of reach.
        TrainingError: training cannot go on.
    """
    folder = RunFolder(config)
    about = speech.about if speech else describe_update(_listing(config), math.prod(process_grid(config.run)))
    fabric = build_fabric(config.run, build_loggers(config.log, folder.path), find_unused=find_unused)
    fabric.launch()
    ranks = Ranks(fabric)
    tell = say if ranks.is_main else _silent
    computing = describe_computing(config.run.precision, fabric)
    with ExitStack() as stack:
        for note in ranks.main_only(lambda: folder.prepare(computing, stack)):
            tell(note)
        speech = speech or Speech(_listed(_listing(config).data))
        _report_corpus(corpus := speech.corpus, tell)
        warned = (f"warning: {text}" for text in (*warnings, *augment_warnings(config.augment)))
        for line in [about, *warned, computing.sentence()]:
            tell(line)
        objective, heard = build(fabric.device, tell)
        if not named_by_files(corpus.sources):
            heard = None  # the record is by the files' names
        objective.prepare(corpus.sources, ranks, tell)
        validation = _held_out(config, speech, ranks, objective, tell)
        try:
            result = Trainer(config, fabric, ranks, objective, speech, folder, validation, heard).fit(on_progress)
        except NotImplementedError as error:
            if is_host(fabric.device):
                raise
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"run.accelerator is {config.run.accelerator}, which lacks an operator; expected run.accelerator=cpu, "
                f"or PyTorch's own fallback if it has one for this device: {reason}"
            ) from error
        tell(str(corpus.summary))
    return replace(result, missing=corpus.missing)


def _held_out(config: TrainingConfig, speech: Speech, ranks: Ranks, objective: Objective, say: Say) -> HeldOut | None:
    """What checkpoints are judged by, if anything."""
    if speech.hold_out is not None:
        return speech.hold_out(ranks, objective)
    return Validation(_listing(config), ranks, objective, say) if config.validation.every else None


def _listing(config: TrainingConfig) -> ListedConfig:
    """The configuration of a run on audio without labels."""
    assert isinstance(config, ListedConfig)
    return config


def _listed(data: DataConfig) -> TrainingCorpus:
    """What `data.train` lists."""
    return open_corpus(
        data.train,
        weights=data.weights,
        min_samples=data.min_samples,
        max_bad_share=data.max_bad_share,
        workers=data.workers,
        columns=data.columns,
    )


def describe_update(config: ListedConfig, devices: int) -> str:
    """What an update holds.

    Raises:
        ConfigError: the audio of an update cannot be shared out over the devices.
    """
    data, each = config.data, batches_per_device(config, devices)
    total = devices * each * data.batch_seconds
    parts = [f"{devices} device{'s' * (devices > 1)}", f"{each} batch{'es' * (each > 1)}", f"{data.batch_seconds:g} s"]
    line = f"{total:g} s of audio per update at most: {' × '.join(parts)}"
    if config.optim.accumulate and total != data.audio_per_update:
        line += f" (as optim.accumulate says; data.audio_per_update is {data.audio_per_update:g} s)"
    return line


def _silent(text: str) -> None:
    """Say nothing: only the main process speaks."""


def named_by_files(sources: Sequence[Source]) -> bool:
    """Whether lists name their utterances by their files, and not by keys or as segments of them.

    Of shards nothing is known but the ids, which are the files' names unless a list gave others.
    """
    cuts = (cut for source in sources if isinstance(source, CutSource) for cut in source.cuts)
    return all(utterance_key(cut.id, 1.0) == utterance_key(cut.recording.sources[0].source, 1.0) for cut in cuts)


def _report_corpus(corpus: TrainingCorpus, say: Callable[[str], None]) -> None:
    say(f"{counted(corpus.utterances, 'utterance')}, {duration(corpus.seconds)}")
    if any(source.weight != 1 for source in corpus.sources):
        for source, share in zip(corpus.sources, corpus.shares, strict=True):
            say(f"  {duration(source.seconds)}, seen {source.weight:g} times per epoch: {share:.1%} of the audio")
    reported: list[tuple[str, Sequence[object]]] = [
        ("found otherwise than they were listed", corpus.changes),
        ("unusable, left out", corpus.faults),
        ("too short, left out", corpus.too_short),
    ]
    for label, faults in reported:
        if faults:
            say(f"{len(faults)} {label}:")
            for fault in faults[:10]:
                say(f"  {fault}")
            if len(faults) > 10:
                say(f"  and {len(faults) - 10} more")
