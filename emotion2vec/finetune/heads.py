"""The heads that a run begins with: a new main one, those beside it, and those whose targets are unlearnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.goals import Goal, ValueGoal
from emotion2vec.finetune.own_head import start_head
from emotion2vec.finetune.standard import read_by, solve
from emotion2vec.finetune.task import Task
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.heads import Head
from emotion2vec.model.known_heads import build_head
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.scaling import Scaling

SOLVED_SECONDS = 30.0
"""Start of a clip that a regression reads at most, in s."""


def add_heads(
    encoder: SpeechEncoder, task: Task, config: FinetuneConfig, device: torch.device, say: Callable[[str], None]
) -> None:
    """Let an encoder's own main head go on, see `start_head`, or give it a new one, and new ones beside it.

    New heads standardize by statistics of training clips if asked for.

    Raises:
        ConfigError: clips are longer than the encoder knows to handle, or as for `start_head`.
    """
    known = encoder.config.max_seconds
    if known and config.data.max_seconds > known:
        raise ConfigError(f"data.max_seconds is {config.data.max_seconds:g}, and the model knows {known:g} s at once")
    kept = {name: aim.goal for name, aim in task.aims.items() if aim.reversal is None}
    heads = {name: _new(encoder, name, goal, config, device) for name, goal in kept.items()}
    own = start_head(encoder, heads[MAIN].config, kept[MAIN].names, config.finetune.head, say)
    new = [head for name, head in heads.items() if name or own is None]
    encoder.head = own or heads[MAIN]
    encoder.further = torch.nn.ModuleList(head for name, head in heads.items() if name)
    encoder.to(device)
    solved = own is None and config.finetune.solve > 0  # which standardizes by the clips that it is solved on
    _standardize([head for head in new if not (solved and head is encoder.head)], encoder, task, config, device)
    if solved:
        _solve(encoder, task, config, device, say)
    elif config.finetune.solve:
        say("finetune.solve has no effect: the model's own head goes on learning")


def opposed_heads(encoder: SpeechEncoder, task: Task, config: FinetuneConfig, device: torch.device) -> list[Head]:
    """New heads whose targets are unlearnt; they standardize as all new ones do."""
    unlearnt = {name: aim.goal for name, aim in task.aims.items() if aim.reversal is not None}
    heads = [_new(encoder, name, goal, config, device) for name, goal in unlearnt.items()]
    _standardize(heads, encoder, task, config, device)
    return heads


def _standardize(
    heads: Sequence[Head], encoder: SpeechEncoder, task: Task, config: FinetuneConfig, device: torch.device
) -> None:
    """Let new heads, all of which read the same, standardize by training clips, if asked for."""
    if heads and (count := config.finetune.standardize):
        waveforms = task.first_clips(count, normalizes=encoder.config.normalizes)
        scaling = Scaling.of(read_by(encoder.eval(), [*waveforms.values()], device, heads[0]))
        for head in heads:
            head.standardize(scaling)


def _solve(
    encoder: SpeechEncoder, task: Task, config: FinetuneConfig, device: torch.device, say: Callable[[str], None]
) -> None:
    """Start the new main head where a regression on whole training clips that have its target ends."""
    goal, head = task.aims[MAIN].goal, encoder.head
    assert head is not None
    found = task.first_clips(config.finetune.solve, normalizes=encoder.config.normalizes, crop=False)
    names = [name for name in found if name in goal.weights]
    most = round(min(encoder.config.max_seconds or SOLVED_SECONDS, SOLVED_SECONDS) * SAMPLE_RATE)
    vectors = read_by(encoder.eval(), [found[name][:most] for name in names], device, head)
    truths = np.stack([goal.truth(name) for name in names])
    speakers = [task.utterances[name].speaker or "" for name in names]
    solve(head, vectors, truths, speakers, config.run.seed)
    say(f"the head starts from a {'ridge' if truths.ndim == 2 else 'logistic'} regression on {len(names)} clips")


def _new(encoder: SpeechEncoder, name: str, goal: Goal, config: FinetuneConfig, device: torch.device) -> Head:
    """A head with random weights; values begin where training's lie."""
    settings = HeadConfig(**vars(config.head), task=goal.task)
    generator = torch.Generator().manual_seed(keyed_seed(config.run.seed, "head", *([name] if name else [])))
    head = build_head(settings, encoder.config.width, len(encoder.blocks), goal.names, generator).to(device)
    head.target = name
    if isinstance(goal, ValueGoal):
        shift, scale = (torch.from_numpy(x).float().to(device) for x in vars(goal.scaling).values())
        head.rescale(shift, scale)
    return head
