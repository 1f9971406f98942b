"""The heads that a run begins with: a new main one, those beside it, and those whose targets are unlearnt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.text import Texts
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.goals import Goal, ValueGoal
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.own_head import start_head
from emotion2vec.finetune.standard import read_by, solve
from emotion2vec.finetune.task import Task
from emotion2vec.finetune.texts import as_read
from emotion2vec.model.config import ANGLES, SYMBOLS, TEXT_HEADS, HeadConfig
from emotion2vec.model.heads import Head, PooledHead
from emotion2vec.model.known_heads import build_head
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.scaling import Scaling

if TYPE_CHECKING:
    from lhotse.cut import Cut

SOLVED_SECONDS = 30.0
"""Start of a clip that a regression reads at most, in s."""


def add_heads(
    encoder: SpeechEncoder,
    task: Task,
    config: FinetuneConfig,
    device: torch.device,
    say: Callable[[str], None],
    rows: KeptRows,
) -> None:
    """Let an encoder's own main head go on, see `start_head`, or give it a new one, and new ones beside it.

    New heads standardize by statistics of training clips if asked for.

    Raises:
        ConfigError: clips are longer than the encoder knows to handle, the own head has no margin, or as for
            `start_head`.
    """
    known = encoder.config.max_seconds
    if known and config.data.max_seconds > known:
        raise ConfigError(f"data.max_seconds is {config.data.max_seconds:g}, and the model knows {known:g} s at once")
    kept = {name: aim.goal for name, aim in task.aims.items() if aim.reversal is None}
    texts = rows.texts_of(config, device)
    heads = {name: _new(encoder, name, goal, config, device, texts) for name, goal in kept.items()}
    own = start_head(encoder, heads[MAIN].config, kept[MAIN].names, config.finetune.head, say)
    if own is not None and config.loss.margin and own.config.kind not in ANGLES:
        raise ConfigError(
            f"loss.margin is {config.loss.margin:g} and the model's own head ({own.config.kind}) goes on learning, "
            f"expected finetune.head=new or a head of kind {' or '.join(ANGLES)}"
        )
    new = [head for name, head in heads.items() if name or own is None]
    encoder.head = own or heads[MAIN]
    encoder.further = torch.nn.ModuleList(head for name, head in heads.items() if name)
    encoder.to(device)
    solved = own is None and config.finetune.solve > 0  # which standardizes by the clips that it is solved on
    _standardize([head for head in new if not (solved and head is encoder.head)], encoder, task, config, device)
    if solved:
        _solve(encoder, task, config, rows, say)
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
    """Let new heads standardize by what they read of training clips, if asked for."""
    if heads and (count := config.finetune.standardize):
        waveforms = task.first_clips(count, normalizes=encoder.config.normalizes)
        alike: dict[tuple[bool, bool], list[Head]] = defaultdict(list)
        for head in heads:
            alike[isinstance(head, PooledHead), head.reads_layers].append(head)
        for some in alike.values():
            scaling = Scaling.of(read_by(encoder.eval(), [*waveforms.values()], device, some[0]))
            for head in some:
                head.standardize(scaling)


def _solve(
    encoder: SpeechEncoder, task: Task, config: FinetuneConfig, rows: KeptRows, say: Callable[[str], None]
) -> None:
    """Start the new main head where a regression on whole training clips that have its target ends."""
    goal, head = task.aims[MAIN].goal, encoder.head
    assert head is not None
    cuts = [task.source.cuts[place] for place in task.first_places(config.finetune.solve)]
    cuts = [cut for cut in cuts if cut.id in goal.weights]
    pooled = rows.pooled.setdefault((config.model, head.config.kind, head.config.pooling), {})
    _read_clips(encoder.eval(), head, [cut for cut in cuts if cut.id not in pooled], pooled)
    names = [cut.id for cut in cuts if cut.id in pooled]
    if not names:
        raise ConfigError(f"finetune.solve has {len(cuts)} clips, none of which can be decoded; expected some, or 0")
    truths = np.stack([goal.truth(name) for name in names])
    speakers = [task.utterances[name].speaker or "" for name in names]
    solve(head, np.stack([pooled[name] for name in names]), truths, speakers, config.run.seed)
    say(f"the head starts from a {'ridge' if truths.ndim == 2 else 'logistic'} regression on {len(names)} clips")


def _read_clips(encoder: SpeechEncoder, head: Head, cuts: Sequence[Cut], found: dict[str, np.ndarray]) -> None:
    """Add what a head reads of whole clips (P) or (L, P), by their ids, of those that can be decoded."""
    most = round(min(encoder.config.max_seconds or SOLVED_SECONDS, SOLVED_SECONDS) * SAMPLE_RATE)
    for first in range(0, len(cuts), TOGETHER):
        part = cuts[first : first + TOGETHER]
        heard = zip(part, decoded(part, normalizes=encoder.config.normalizes), strict=True)
        waveforms = {cut.id: waveform[:most] for cut, waveform in heard if not isinstance(waveform, AudioError)}
        if waveforms:
            vectors = read_by(encoder, [*waveforms.values()], encoder.device, head)
            found |= dict(zip(waveforms, vectors, strict=True))


def _new(
    encoder: SpeechEncoder,
    name: str,
    goal: Goal,
    config: FinetuneConfig,
    device: torch.device,
    texts: Texts | None = None,
) -> Head:
    """A head with random weights; values begin where training's lie. Beside the main one none reads texts."""
    settings = HeadConfig(**vars(config.head), task=goal.task)
    if goal.task == SYMBOLS:
        settings = HeadConfig(kind=SYMBOLS, semantic=config.head.semantic, task=SYMBOLS)
    elif settings.kind in TEXT_HEADS:
        settings = replace(settings, kind="statistics") if name or texts is None else as_read(settings, texts)
    generator = torch.Generator().manual_seed(keyed_seed(config.run.seed, "head", *([name] if name else [])))
    head = build_head(settings, encoder.config.width, len(encoder.blocks), goal.names, generator).to(device)
    head.target = name
    if isinstance(goal, ValueGoal):
        shift, scale = (torch.from_numpy(x).float().to(device) for x in vars(goal.scaling).values())
        head.rescale(shift, scale)
    return head
