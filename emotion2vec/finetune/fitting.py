"""One fine-tuned model, from clips that train and clips that choose: its run folder, and what is published there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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
from emotion2vec.finetune.heads import add_heads, opposed_heads
from emotion2vec.finetune.held_out import HeldOutSpeakers
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.learnt_scales import learnt_scales
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.objective import Finetuning
from emotion2vec.finetune.result import publish, withdraw
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.strategy import Thawing
from emotion2vec.finetune.task import Task, make_task
from emotion2vec.finetune.texts import transcribed
from emotion2vec.finetune.watching import Watch, watched
from emotion2vec.model.config import SYMBOLS
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.progress import ProgressCallback
from emotion2vec.training.objective import Objective
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run import Build, Say, train
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.speech import Speech
from emotion2vec.training.trainer import FitResult
from emotion2vec.training.warm_start import grouped


def fit(
    config: FinetuneConfig,
    corpus: Corpus,
    split: Split,
    *,
    say: Callable[[str], None],
    rows: KeptRows,
    watch: Watch | None = None,
    start: str | None = None,
    on_progress: ProgressCallback | None = None,
) -> FitResult:
    """Train one model; errors as for `emotion2vec.finetune.run.finetune`.

    Args:
        config: a checked configuration.
        corpus: labelled clips.
        split: those that train, and those that choose; no others are touched.
        say: shows a line of text to the user.
        rows: what frozen blocks said of clips in earlier runs, and from now on in this one.
        start: model to start from in place of the configuration's.
        watch: called with the update and the score of every validation; what it raises ends the training.
        on_progress: called with a `Progress` after every update, see `emotion2vec.training.run.train`.
    """
    task = make_task(config, corpus, split)
    idle, config = without_effect(config), _timed(config, len(task.source.cuts))
    _say_split(config, corpus, split, say)
    for note in task.notes:
        say(f"warning: {note}")
    judges: list[HeldOutSpeakers] = []
    speech = replace(_speech(config, task), hold_out=partial(_hold_out, task, config, say, judges))
    if watch is not None:
        speech = watched(speech, watch)
    result = _train(config, partial(_build, task, config, rows, start or config.model), speech, idle, say, on_progress)
    if result.is_main and result.signal is None:
        (judge,) = judges
        publish(RunFolder(config), judge, config, learnt_scales(config, corpus), say)
    return result


def fit_all(
    config: FinetuneConfig,
    corpus: Corpus,
    clips: np.ndarray,
    *,
    say: Say,
    rows: KeptRows,
    last: int,
    on_progress: ProgressCallback | None = None,
) -> FitResult:
    """Train one model on clips none of which chooses; it is not published. Errors as for `fit`.

    Args:
        config: a checked configuration.
        corpus: labelled clips.
        clips: positions of those that train.
        say: shows a line of text to the user.
        rows: as for `fit`.
        last: the update after which training ends.
        on_progress: as for `fit`.
    """
    task = make_task(config, corpus, Split(clips, clips[:0], ()))
    idle, config = without_effect(config), _timed(config, len(task.source.cuts))
    last = min(last, config.optim.max_updates)
    speech = replace(_speech(config, task), about=_about(config, task, last), hold_out=_nobody, last=last)
    return _train(config, partial(_build, task, config, rows, config.model), speech, idle, say, on_progress)


def _speech(config: FinetuneConfig, task: Task) -> Speech:
    order = partial(DrawnOrder, groups=task.groups, clips=config.data.clips)
    return Speech(task.found, about=_about(config, task, config.optim.max_updates), order=order, pad=True)


def _train(
    config: FinetuneConfig,
    build: Build,
    speech: Speech,
    idle: Sequence[str],
    say: Say,
    on_progress: ProgressCallback | None,
) -> FitResult:
    return train(
        config,
        build,
        say,
        warnings=idle,
        find_unused=config.finetune.strategy.startswith("gradual") or config.finetune.head_first > 0,
        speech=speech,
        on_progress=on_progress,
    )


def _say_split(config: FinetuneConfig, corpus: Corpus, split: Split, say: Say) -> None:
    """Say who is held out, and what is to be known of that."""
    if split.held:
        say(f"held out to choose by: {', '.join(split.held)}")
    else:
        say("warning: clips are held out without regard to speakers: validation scores are not those of new speakers")
    for note in split.notes:
        say(f"warning: {note}")
    labels = {corpus.utterances[i].label for i in split.valid}
    if not config.data.targets and (lacking := [name for name in corpus.classes if name not in labels]):
        say(f"warning: no held-out clip is of {', '.join(lacking)}, so the checkpoint is chosen by the other classes")


def _nobody(ranks: Ranks, objective: Objective[Any, Any]) -> None:
    """Nothing judges the checkpoints."""


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


def _about(config: FinetuneConfig, task: Task, updates: int) -> str:
    """What the run holds, in words."""
    data, clips = config.data, len(task.source.cuts)
    text = f"{updates} updates of {data.clips} clips of up to {data.max_seconds:g} s"
    if config.optim.accumulate > 1:
        text += f" in {config.optim.accumulate} batches by length"
    if len(task.groups) > 1:
        text += f", drawn evenly from {len(task.groups)} groups by {data.balance}"
    return f"{text}: {updates * data.clips / clips:.1f} times as many clips as there are"


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
    assert isinstance(objective, Finetuning)
    texts = None if objective.transcripts is None else objective.transcripts.texts
    every, last = config.validation.every, config.optim.max_updates
    judge = HeldOutSpeakers(task.aims, clips, ranks, every=every, last=last, texts=texts)
    judges.append(judge)
    return judge


def _silent(text: str) -> None:
    """Say nothing: only the main process speaks."""


def _build(
    task: Task, config: FinetuneConfig, rows: KeptRows, start: str, device: torch.device, say: Say
) -> tuple[Objective, Heard | None]:
    """Encoder and heads, and whose labels they know."""
    path = Path(config.run.dir)
    withdraw(path)
    resumed = newest_checkpoint(path)
    encoder = load_model(resumed or start)
    if config.run.checkpoint_activations and not isinstance(encoder, Emotion2vec):
        raise ConfigError(f"run.checkpoint_activations is on, which needs a network of ours, and model is {start}")
    if resumed is None:
        say(f"model: {start}, {sum(p.numel() for p in encoder.parameters()):,} parameters")
        add_heads(encoder, task, config, device, say, rows)
    transcripts = transcribed(encoder, rows.texts_of(config, device), config.text, config.run.seed, task.utterances)
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
    return Finetuning(config, network, task.aims, thawing, rows, transcripts), heard


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
    return f", after {thawing.first} updates of heads alone" if thawing.first and thawing.changes else ""


def _about_aim(name: str, aim: Aim, task: Task) -> str:
    """What a further head learns, in words."""
    known = sum(cut.id in aim.goal.weights for cut in task.source.cuts)
    names = aim.goal.names[1:] if aim.goal.task == SYMBOLS else aim.goal.names
    count = len(names)
    what = {"classes": f"{count} classes", "values": "values", SYMBOLS: f"{count} symbols"}[aim.goal.task]
    how = f"with weight {aim.weight:g}" if aim.reversal is None else f"unlearnt with λ {aim.reversal:g}"
    shown = f" ({', '.join(names)})" if count <= 12 else ""
    return f"{name}: {what}{shown} of {known} clips that train, {how}"
