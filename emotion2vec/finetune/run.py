"""A whole fine-tuning run from its configuration: the function behind `emotion2vec finetune`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.native import newest_checkpoint
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.data.drawn import DrawnOrder
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.adapters import adapt
from emotion2vec.finetune.aims import Aim
from emotion2vec.finetune.config import FinetuneConfig, without_effect
from emotion2vec.finetune.described import describe_data, describe_model
from emotion2vec.finetune.folds import cross_validate
from emotion2vec.finetune.heads import add_heads, opposed_heads
from emotion2vec.finetune.held_out import HeldOutSpeakers
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.objective import Finetuning
from emotion2vec.finetune.result import publish, withdraw
from emotion2vec.finetune.splits import Split, whole_split
from emotion2vec.finetune.strategy import Thawing
from emotion2vec.finetune.task import Task, make_task
from emotion2vec.finetune.watching import Watch, watched
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.probe.results import ProbeResult
from emotion2vec.training.objective import Objective
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run import Say, train
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.speech import Speech
from emotion2vec.training.trainer import FitResult
from emotion2vec.training.warm_start import grouped
from emotion2vec.units import counted


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        result: of the last model that was trained.
        scores: of all folds, where there were any and all are done.
    """

    result: FitResult
    scores: ProbeResult | None = None


def finetune(config: FinetuneConfig, say: Callable[[str], None] = print) -> Finished:
    """Fine-tune, from `model` or from where `run.dir` was interrupted; the best checkpoint becomes the folder's model.

    With `evaluate.folds` a model is trained and tested for every fold before.

    Args:
        config: a checked configuration (`emotion2vec.finetune.config.load_config`).
        say: shows a line of text to the user.

    Raises:
        ConfigError: settings that this machine, run folder or data cannot serve.
        ManifestError: the data cannot be used.
        CheckpointError: a checkpoint cannot be read.
        StorageError: the run folder cannot be written, or the data is out of reach.
        TrainingError: training cannot go on.
    """
    corpus = read_labelled(config.data, config.joint)
    show_labels(corpus, say)
    split = whole_split(config, corpus) if config.evaluate.final else None  # whose faults come before any training
    scores, rows = None, KeptRows()
    if config.evaluate.folds:
        done = cross_validate(config, corpus, partial(fit, say=say, rows=rows), say)
        if isinstance(done, FitResult):
            return Finished(done)
        scores = done.scores
        if split is None:
            describe_data(config, corpus, None)
            return Finished(done.last, scores)
    assert split is not None
    result = fit(config, corpus, split, say=say, rows=rows)
    if result.is_main:
        describe_data(config, corpus, split)
        if result.signal is None:
            describe_model(config, corpus, split)
    return Finished(result, scores)


def fit(
    config: FinetuneConfig,
    corpus: Corpus,
    split: Split,
    *,
    say: Callable[[str], None],
    rows: KeptRows,
    watch: Watch | None = None,
) -> FitResult:
    """Train one model; errors as for `finetune`.

    Args:
        config: a checked configuration.
        corpus: labelled clips.
        split: those that train, and those that choose; no others are touched.
        say: shows a line of text to the user.
        rows: what frozen blocks said of clips in earlier runs, and from now on in this one.
        watch: called with the update and the score of every validation; what it raises ends the training.
    """
    task = make_task(config, corpus, split)
    config = _timed(config, len(task.source.cuts))
    if split.held:
        say(f"held out to choose by: {', '.join(split.held)}")
    else:
        say("warning: clips are held out without regard to speakers: validation scores are not those of new speakers")
    for note in split.notes:
        say(f"warning: {note}")
    labels = {corpus.utterances[i].label for i in split.valid}
    if not config.data.targets and (lacking := [name for name in corpus.classes if name not in labels]):
        say(f"warning: no held-out clip is of {', '.join(lacking)}, so the checkpoint is chosen by the other classes")
    judges: list[HeldOutSpeakers] = []
    speech = Speech(
        task.found,
        about=_about(config, task),
        order=partial(DrawnOrder, groups=task.groups, clips=config.data.clips),
        pad=True,
        hold_out=partial(_hold_out, task, config, say, judges),
    )
    if watch is not None:
        speech = watched(speech, watch)
    result = train(
        config,
        partial(_build, task, config, rows),
        say,
        warnings=without_effect(config),
        find_unused=config.finetune.strategy.startswith("gradual") or config.finetune.head_first > 0,
        speech=speech,
    )
    if result.is_main and result.signal is None:
        (judge,) = judges
        publish(RunFolder(config), judge, config, say)
    return result


def _timed(config: FinetuneConfig, clips: int) -> FinetuneConfig:
    """The configuration with as many updates as `optim.epochs` says.

    Raises:
        ConfigError: none of them is left for the encoder.
    """
    optim, first = config.optim, config.finetune.head_first
    updates = max(1, math.ceil(optim.epochs * clips / config.data.clips)) if optim.epochs else optim.max_updates
    if first >= updates and config.finetune.strategy != "frozen":
        raise ConfigError(
            f"finetune.head_first is {first} of {updates} updates, which leaves none for the encoder; expected fewer, "
            "or finetune.strategy=frozen"
        )
    return replace(config, optim=replace(optim, max_updates=updates))


def _about(config: FinetuneConfig, task: Task) -> str:
    """What the run holds, in words."""
    data, clips = config.data, len(task.source.cuts)
    text = f"{counted(config.optim.max_updates, 'update')} of {data.clips} clips of up to {data.max_seconds:g} s"
    if config.optim.accumulate > 1:
        text += f" in {config.optim.accumulate} batches by length"
    if len(task.groups) > 1:
        text += f", drawn evenly from {len(task.groups)} groups by {data.balance}"
    return f"{text}: {config.optim.max_updates * data.clips / clips:.1f} times as many clips as there are"


def _hold_out(
    task: Task,
    config: FinetuneConfig,
    say: Say,
    judges: list[HeldOutSpeakers],
    ranks: Ranks,
    objective: Objective[Any, Any],
) -> HeldOutSpeakers:
    """What checkpoints are judged by, which is kept in `judges` too."""
    tell = say if ranks.is_main else _silent
    clips = task.held_out(normalizes=objective.model.config.normalizes, say=tell)
    judge = HeldOutSpeakers(task.aims, clips, ranks, every=config.validation.every, last=config.optim.max_updates)
    judges.append(judge)
    return judge


def _silent(text: str) -> None:
    """Say nothing: only the main process speaks."""


def _build(
    task: Task, config: FinetuneConfig, rows: KeptRows, device: torch.device, say: Say
) -> tuple[Objective, Heard | None]:
    """Encoder and heads, and whose labels they know."""
    path = Path(config.run.dir)
    withdraw(path)
    resumed = newest_checkpoint(path)
    encoder = load_model(resumed or config.model)
    if config.run.checkpoint_activations and not isinstance(encoder, Emotion2vec):
        raise ConfigError(
            f"run.checkpoint_activations is on, which needs a network of ours, and model is {config.model}"
        )
    if resumed is None:
        say(f"model: {config.model}, {sum(p.numel() for p in encoder.parameters()):,} parameters")
        add_heads(encoder, task, config, device, say)
    thawing = Thawing.of(encoder, config.finetune)
    encoder.to(device)
    adapters = None
    if config.finetune.strategy == "lora":
        adapters = adapt(encoder, thawing.lowest, config.lora, config.run.seed)
    network = TunedNetwork(encoder, thawing.lowest, adapters, opposed_heads(encoder, task, config, device))
    say(_learning(network, thawing))
    for name, aim in task.aims.items():
        if name:
            say(_about_aim(name, aim, task))
    heard = (encoder.heard or Heard()).with_more(labels=task.heard.labels)
    return Finetuning(config, network, task.aims, thawing, rows), heard


def _learning(network: TunedNetwork, thawing: Thawing) -> str:
    """What learns, in words."""
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    heads = "the head" if len(network.heads) == 1 else f"{len(network.heads)} heads"
    if network.adapters is not None:
        return f"{learnt:,} parameters learn: {heads}, adapters of {grouped(network.adapters.layers)}{_after(thawing)}"
    what = "".join(f", {part.name}" for part in network.encoder.parts()[thawing.lowest :])
    how = f"{' one by one from the top' * (thawing.every > 0)}{_after(thawing)}"
    return f"{learnt:,} parameters learn: {heads}{what}{how}"


def _after(thawing: Thawing) -> str:
    return f", after {counted(thawing.first, 'update')} of heads alone" if thawing.first and thawing.changes else ""


def _about_aim(name: str, aim: Aim, task: Task) -> str:
    """What a further head learns, in words."""
    known = sum(cut.id in aim.goal.weights for cut in task.source.cuts)
    count = len(aim.goal.names)
    what = counted(count, "class", "classes") if aim.goal.task == "classes" else "values"
    how = f"with weight {aim.weight:g}" if aim.reversal is None else f"unlearnt with λ {aim.reversal:g}"
    shown = f" ({', '.join(aim.goal.names)})" if count <= 12 else ""
    return f"{name}: {what}{shown} of {known} clips that train, {how}"
