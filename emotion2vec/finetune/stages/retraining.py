"""Stages B and C: clusters of a seed model's frames, and the pretrained model retrained to say them.

N: clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.native import newest_checkpoint
from emotion2vec.checkpoint.opening import load_model, read_source
from emotion2vec.clusters.frames import ModelFrames
from emotion2vec.clusters.kmeans import frames_of, too_few
from emotion2vec.clusters.labels import Facts, Task
from emotion2vec.clusters.network import ClusterNetwork
from emotion2vec.clusters.objective import ClusterPrediction, Drawing
from emotion2vec.clusters.settings import scales_of
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.data.config import MOVING
from emotion2vec.data.corpus import TrainingCorpus
from emotion2vec.data.cuts import cuts_of
from emotion2vec.data.drawn import DrawnOrder
from emotion2vec.data.sources import CutSource
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.aims import class_of
from emotion2vec.finetune.config import EvaluateConfig, FinetuneConfig, TuneValidation
from emotion2vec.finetune.joint import JointSettings
from emotion2vec.finetune.learnt import HeadSettings, LoraConfig, StrategyConfig
from emotion2vec.finetune.losses import LossSettings
from emotion2vec.finetune.splits import Split
from emotion2vec.finetune.spoken.settings import PhonemeSettings
from emotion2vec.finetune.strategy import frozen_parts
from emotion2vec.finetune.texts import TextSettings
from emotion2vec.progress import ProgressCallback
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.objective import Objective
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run import Say, train
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.speech import Speech
from emotion2vec.training.trainer import FitResult
from emotion2vec.units import counted

CLUSTERS, RETRAINED = "clusters", "retrained"
"""Folders of stages B and C in a run folder."""

COMPARED = ("emotion", "gender", "speaker")
"""What clusters are compared with."""


@dataclass(frozen=True)
class Unlabelled:
    """Clips that are heard without what they are labelled.

    Attributes:
        corpus: their audio, and what of it was left out.
        facts: of those that train, to report on.
    """

    corpus: TrainingCorpus
    facts: Facts

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return self.corpus.utterances


def unlabelled(config: FinetuneConfig, corpus: Corpus, split: Split) -> Unlabelled:
    """The clips of a split that train, and with `gmp.transductive` all that it leaves alone."""
    rows = split.train
    if config.gmp.transductive:
        everything = np.arange(len(corpus.utterances))
        rows = np.setdiff1d(everything, split.valid)
    clips = corpus.utterances
    opened = cuts_of([clips[i] for i in rows], min_samples=config.data.min_samples, workers=config.data.workers)
    trained = [clips[i] for i in split.train]
    facts = {
        name: {clip.id: value for clip in trained if (value := class_of(clip, name)) is not None} for name in COMPARED
    }
    found = TrainingCorpus([CutSource(opened.cuts)], opened.faults, opened.too_short, [])
    return Unlabelled(found, facts)


def check_frames(config: FinetuneConfig, heard: Unlabelled) -> None:
    """Check that there are as many frames as clusters.

    Raises:
        ConfigError: there are fewer.
    """
    frames = frames_of(read_source(config.model).config.grid, heard.corpus.sources)
    if frames < max(config.clusters.counts):
        raise ConfigError(too_few(config.clusters, frames))


def retrain(
    config: FinetuneConfig, heard: Unlabelled, seed: str, say: Say, on_progress: ProgressCallback | None = None
) -> FitResult:
    """Cluster the frames of a seed model and retrain the pretrained model on them, from where both stand.

    Args:
        config: of the whole run.
        heard: clips.
        seed: folder of the seed model.
        say: shows a line of text to the user.
        on_progress: called after every update.
    """
    own = retrain_config(config, heard.clips)
    last, folder = own.optim.max_updates, RunFolder(own)
    if folder.newest() == f"update_{last:08d}":
        RunFolder(replace(own, run=replace(own.run, extend=False))).same_run_notes()
        return FitResult(last, None)
    how = "clips that train and that are tested" if config.gmp.transductive else "clips that train"
    say(f"stages B and C: clusters of frames of the seed model, and {config.model} retrained on them; {how}")
    order = partial(DrawnOrder, groups=[np.arange(heard.clips)], clips=own.data.clips)
    about = (
        f"{last} updates of {own.data.clips} clips of up to {own.data.max_seconds:g} s, {counted(heard.clips, 'clip')}"
    )
    speech = Speech(heard.corpus, about=about, order=order, pad=True, hold_out=_nobody)
    return train(own, partial(_build, own, heard.facts, seed), say, speech=speech, on_progress=on_progress)


def retrain_config(config: FinetuneConfig, clips: int) -> FinetuneConfig:
    """The run of stage C: the same speech without labels, and what `retrain` says."""
    wanted = config.retrain
    still: dict[str, Any] = {f"{name}_prob": 0.0 for name in ("mix", *MOVING)}
    updates = max(1, math.ceil(wanted.epochs * clips / config.data.clips))
    return replace(
        config,
        run=replace(config.run, dir=str(Path(config.run.dir) / RETRAINED)),
        optim=replace(
            config.optim,
            lr=wanted.lr,
            warmup_updates=round(wanted.warmup * updates),
            max_updates=updates,
            epochs=0.0,
            weight_decay=wanted.weight_decay,
            clip_norm=wanted.clip_norm,
        ),
        augment=replace(config.augment, **still),
        finetune=StrategyConfig(freeze=config.finetune.freeze),
        lora=LoraConfig(),
        head=HeadSettings(),
        loss=LossSettings(),
        text=TextSettings(),
        joint=JointSettings(),
        phonemes=PhonemeSettings(),
        validation=TuneValidation(),
        checkpoint=replace(config.checkpoint, keep_best="none"),
        evaluate=EvaluateConfig(),
    )


def _build(
    config: FinetuneConfig, facts: Facts, seed: str, device: torch.device, say: Say
) -> tuple[ClusterPrediction, Heard | None]:
    """The pretrained model with linear layers, and the seed model's frames, which are clustered."""
    path = Path(config.run.dir)
    encoder = load_model(newest_checkpoint(path) or config.model)
    encoder.head, encoder.further = None, nn.ModuleList()
    encoder.to(device)
    frames = ModelFrames(seed, config.clusters.layers, device)
    settings = replace(config.clusters, layers=frames.layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(config.run.seed, "retrain"))
        counts = [scale.count for scale in scales_of(settings)]
        frozen = frozen_parts(encoder, config.finetune)
        network = ClusterNetwork(encoder, counts, frozen, hides=config.retrain.share > 0)
    network.to(device)
    learnt = sum(p.numel() for p in network.parameters() if p.requires_grad)
    say(f"{learnt:,} parameters learn: {len(counts)} linear layers, and the model above its first {frozen} parts")
    task = Task(path.with_name(CLUSTERS), frames, settings, config.run.seed, facts)
    return ClusterPrediction(network, task, Drawing(config.run.seed, config.retrain)), encoder.heard or Heard()


def _nobody(ranks: Ranks, objective: Objective[Any, Any]) -> None:
    """Nothing judges the checkpoints."""
