"""A whole fine-tuning run from its configuration: the function behind `emotion2vec finetune`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import FinetuneConfig, alone_fault
from emotion2vec.finetune.described import describe_data, describe_model
from emotion2vec.finetune.folds import cross_validate
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.refit import learn
from emotion2vec.finetune.splits import whole_split
from emotion2vec.finetune.stages.run import check_possible
from emotion2vec.probe.results import ProbeResult
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.strategy import process_grid
from emotion2vec.training.trainer import FitResult


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        result: of the last model that was trained.
        scores: of all folds, where there were any and all are done.
    """

    result: FitResult
    scores: ProbeResult | None = None


def finetune(
    config: FinetuneConfig, say: Callable[[str], None] = print, on_progress: ProgressCallback | None = None
) -> Finished:
    """Fine-tune, from `model` or from where `run.dir` was interrupted; the best checkpoint becomes the folder's model.

    With `evaluate.folds` a model is trained and tested for every fold before.

    Args:
        config: a checked configuration (`emotion2vec.finetune.config.load_config`).
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after every update of each model, the updates of each counted from 1.
            What it raises ends the run when that is saved, and is raised here; the same call goes on from there.

    Raises:
        ConfigError: settings that this machine, run folder or data cannot serve.
        ManifestError: the data cannot be used.
        CheckpointError: a checkpoint cannot be read.
        StorageError: the run folder cannot be written, or the data is out of reach.
        TrainingError: training cannot go on.
    """
    if fault := alone_fault(config, math.prod(process_grid(config.run))):  # torchrun may have started more
        raise ConfigError(fault)
    corpus = read_labelled(config.data, config.joint)
    show_labels(corpus, say)
    check_possible(config, corpus)
    split = whole_split(config, corpus) if config.evaluate.final else None  # whose faults come before any training
    scores, rows = None, KeptRows()
    if config.evaluate.folds:
        done = cross_validate(config, corpus, partial(learn, say=say, rows=rows, on_progress=on_progress), say)
        if isinstance(done, FitResult):
            return Finished(done)
        scores = done.scores
        if split is None:
            describe_data(config, corpus, None)
            return Finished(done.last, scores)
    assert split is not None
    result = learn(config, corpus, split, say=say, rows=rows, on_progress=on_progress)
    if result.is_main:
        describe_data(config, corpus, split)
        if result.signal is None:
            describe_model(config, corpus, split)
    return Finished(result, scores)
