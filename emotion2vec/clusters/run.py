"""Pretraining on clusters from its configuration: behind `emotion2vec pretrain` with objective clusters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.native import newest_checkpoint
from emotion2vec.clusters.config import ClusterConfig, without_effect
from emotion2vec.clusters.frames import CepstralFrames, FrameSource, ModelFrames
from emotion2vec.clusters.labels import Task
from emotion2vec.clusters.network import ClusterNetwork
from emotion2vec.clusters.objective import ClusterPrediction, Drawing
from emotion2vec.clusters.settings import scales_of
from emotion2vec.errors import ConfigError
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.progress import ProgressCallback
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.run import Say, train
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.trainer import FitResult
from emotion2vec.training.warm_start import Origin, take_weights


def pretrain(
    config: ClusterConfig, say: Callable[[str], None] = print, on_progress: ProgressCallback | None = None
) -> FitResult:
    """Pretrain on clusters, from scratch, from `init.from`, or from where `run.dir` was interrupted.

    Args:
        config: a checked configuration (`emotion2vec.clusters.config.load_config`).
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after every update; what it raises ends the run, saved, and is raised.

    Raises:
        ConfigError: settings that this machine, data or run folder cannot serve.
        ManifestError: the data cannot be used.
        CheckpointError: a model or checkpoint cannot be read or does not fit.
        StorageError: the run folder cannot be written, or the data is out of reach.
        TrainingError: training cannot go on.
    """
    return train(
        config,
        partial(build_prediction, config),
        say,
        warnings=without_effect(config),
        find_unused=config.model.layerdrop > 0,
        on_progress=on_progress,
    )


def build_prediction(config: ClusterConfig, device: torch.device, say: Say) -> tuple[ClusterPrediction, Heard | None]:
    """Initialize the network from the seed, then from `init.from` if the run is new, and open what is clustered.

    Returns:
        The objective, and which utterances trained the network already; None where `init.from` does not say.

    Raises:
        CheckpointError: a model cannot be read or does not fit.
        ConfigError: the model whose layers are clustered has other frames, or too few layers.
    """
    seed, found = config.run.seed, config.clusters
    frames: FrameSource = ModelFrames(found.model, found.layers, device) if found.model else CepstralFrames()
    check_grids(frames, config.model.grid.stride)
    settings = found.fitted(frames.layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "init"))
        counts = [scale.count for scale in scales_of(settings)]
        learns = config.optim.cnn_grad_scale and config.optim.cnn_lr_scale
        encoder = Emotion2vec(config.model)
        network = ClusterNetwork(encoder, counts, 0 if learns else 1, hides=config.hidden.share > 0)
    heard: Heard | None = Heard()
    if config.init.from_ and newest_checkpoint(RunFolder(config).path) is None:
        heard = take_weights(
            encoder, Origin(config.init.from_, "init.from", config.init.use), config.init.min_share, say
        ).heard
    folder = Path(found.folder) if found.folder else Path(config.run.dir) / "clusters"
    drawing = Drawing(seed, config.hidden, config.optim.cnn_lr_scale, validates=config.validation.every > 0)
    return ClusterPrediction(network, Task(folder, frames, settings, seed, {}), drawing), heard


def check_grids(frames: FrameSource, stride: int) -> None:
    """Check that frames which are clustered and those of a model follow each other alike.

    Raises:
        ConfigError: they do not.
    """
    if frames.grid.stride != stride:
        raise ConfigError(
            f"{frames.name} has a frame every {frames.grid.stride} samples and the model one every {stride}, expected "
            "the same"
        )
