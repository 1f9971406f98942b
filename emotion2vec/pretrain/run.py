"""A whole pretraining run from its configuration: the function behind `emotion2vec pretrain`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.checkpoint.native import newest_checkpoint
from emotion2vec.pretrain.config import PretrainConfig, without_effect
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.objective import Pretraining
from emotion2vec.pretrain.warm_start import warm_start
from emotion2vec.progress import ProgressCallback
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.run import Say, train
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.trainer import FitResult


def pretrain(
    config: PretrainConfig, say: Callable[[str], None] = print, on_progress: ProgressCallback | None = None
) -> FitResult:
    """Pretrain, from scratch, from `init.from`, or from where `run.dir` was interrupted.

    Args:
        config: a checked configuration (`emotion2vec.pretrain.config.load_config`).
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after every update. What it raises ends the run when that is saved, and is
            raised here; the same call goes on from there.

    Raises:
        ConfigError: settings that this machine or run folder cannot serve.
        ManifestError: the data cannot be used.
        CheckpointError: a checkpoint cannot be read or does not fit.
        StorageError: the run folder cannot be written, or the data is out of reach.
        TrainingError: training cannot go on.
    """

    def build(device: torch.device, say: Say) -> tuple[Pretraining, Heard | None]:
        pretrainer, heard = build_pretrainer(config, say)
        return Pretraining(config, pretrainer, device), heard

    # Layerdrop leaves blocks out of an update.
    known, drops = without_effect(config), config.model.layerdrop > 0
    return train(config, build, say, warnings=known, find_unused=drops, on_progress=on_progress)


def build_pretrainer(config: PretrainConfig, say: Callable[[str], None] = print) -> tuple[Pretrainer, Heard | None]:
    """Initialize the network from the seed, then from `init.from` if the run is new.

    Returns:
        The network, and which utterances trained it already; None where `init.from` does not say.

    Raises:
        CheckpointError: `init.from` cannot be read or does not fit the configured network.
        ConfigError: `init.from` is on a hub whose client is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(config.run.seed, "init"))
        pretrainer = Pretrainer(config)
    if config.init.from_ and newest_checkpoint(RunFolder(config).path) is None:
        return pretrainer, warm_start(pretrainer, config.init, say).heard
    return pretrainer, Heard()
