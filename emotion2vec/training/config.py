"""How a run trains, whatever its objective: data, optimization, devices, saving, logging and guards.

A field that would clash with a Python keyword ends in an underscore here and not in YAML: `init.from`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from emotion2vec.corpora.options import CorpusOptions
from emotion2vec.data.config import AugmentConfig, DataConfig, SpeechConfig
from emotion2vec.errors import ConfigError
from emotion2vec.settings import build, check_ranges, fault_list, option, read_override, read_yaml


@dataclass(kw_only=True)
class OptimConfig:
    """AdamW with linear warm-up and cosine decay to zero."""

    lr: float = option(7.5e-5, "peak learning rate", gt=0)
    warmup_updates: int = option(5_000, "updates of linear warm-up; of a run that is no longer, a tenth of it", ge=0)
    max_updates: int = option(100_000, "updates of the whole run", ge=1)
    accumulate: int = option(0, "batches per update on each device; 0: as data.audio_per_update needs", ge=0)
    beta1: float = option(0.9, "Adam's first moment decay", ge=0, lt=1)
    beta2: float = option(0.98, "Adam's second moment decay", ge=0, lt=1)
    eps: float = option(1e-6, "Adam's epsilon", gt=0)
    weight_decay: float = option(0.01, "decoupled weight decay, none on 1-d parameters", ge=0)
    clip_norm: float = option(0.0, "largest gradient norm; 0 leaves gradients alone", ge=0)


@dataclass(kw_only=True)
class ListedOptim(OptimConfig):
    """The same for networks whose CNN may learn at a pace of its own."""

    cnn_grad_scale: float = option(1.0, "factor on the CNN's gradients; 0 freezes it", ge=0)
    cnn_lr_scale: float = option(
        1.0, "factor on the CNN's learning rate (Adam undoes one on gradients); 0 freezes it", ge=0
    )


PRECISIONS = ("auto", "bf16", "fp16", "fp32")
STRATEGIES = ("ddp", "fsdp")


@dataclass(kw_only=True)
class RunConfig:
    """Where and how the run happens."""

    dir: str = option("", "run folder for config, log and checkpoints; required")
    seed: int = option(0, "key of all randomness", ge=0)
    precision: str = option(
        "auto",
        "compute precision; auto: bf16 where its products are measured to be faster; losses and EMA are always fp32",
        choices=PRECISIONS,
    )
    accelerator: str = option("auto", "device: auto (cuda or cpu), cpu, cuda, cuda:1, mps, xpu, npu, ...")
    devices: int = option(1, "devices of each machine, one process each; under torchrun or SLURM these say it", ge=1)
    nodes: int = option(1, "machines; under torchrun or SLURM these say it", ge=1)
    strategy: str = option(
        "ddp",
        "ddp: every device holds all; fsdp: model, optimizer and teacher are sharded",
        choices=STRATEGIES,
    )
    checkpoint_activations: bool = option(False, "recompute blocks in the backward pass: less memory, more work")
    compile: bool = option(False, "compile the network with torch.compile")
    extend: bool = option(False, "go on with the run to a larger optim.max_updates, or at other learning rates")


@dataclass(kw_only=True)
class InitConfig:
    """Where the weights start from."""

    from_: str = option("", "checkpoint or hub name to warm-start from; empty starts from scratch")
    use: str = option(
        "student", "whose weights of it: the student's or the EMA teacher's", choices=("student", "teacher")
    )
    min_share: float = option(0.5, "share of the network's weights that must be in it, decoder not counted", ge=0, le=1)


@dataclass(kw_only=True)
class LogConfig:
    """What is logged, and how often."""

    every: int = option(10, "updates between lines of metrics.jsonl", ge=1)
    progress: bool = option(True, "progress bar on a terminal")
    wandb: bool = option(False, "log to Weights & Biases too")
    tensorboard: bool = option(False, "log to TensorBoard too")


BEST_BY = ("none", "validation", "probe")


@dataclass(kw_only=True)
class CheckpointConfig:
    """When the run is saved, and what is kept."""

    every: int = option(1_000, "updates between checkpoints", ge=1)
    keep_last: int = option(2, "newest checkpoints kept", ge=1)
    keep_every: int = option(0, "checkpoints of every multiple of this many updates are kept too; 0 keeps none", ge=0)
    keep_best: str = option(
        "none", "keep the best checkpoint too, by validation loss or by probes of validation speakers", choices=BEST_BY
    )
    background: bool = option(True, "write while training goes on, from a copy of the state in host memory")


SPIKE_POLICIES = ("stop", "skip")


@dataclass(kw_only=True)
class GuardConfig:
    """When a run counts as collapsed, and what becomes of an update that is out of line."""

    after_updates: int = option(5_000, "updates before the check for collapse starts", ge=0)
    min_target_std: float = option(0.1, "smallest standard deviation of the targets", ge=0)
    min_prediction_std: float = option(0.01, "smallest standard deviation of the predictions", ge=0)
    spike: str = option("stop", "what a spike does: stop the run, or skip the update", choices=SPIKE_POLICIES)
    spike_factor: float = option(
        0.0, "a gradient norm over this many times its running mean is a spike; 0: only one that is not finite", ge=0
    )
    max_spikes: int = option(10, "spikes in a row that are skipped before the run stops", ge=1)


@dataclass(kw_only=True)
class ValidationConfig:
    """Held-out speech, by which checkpoints are judged."""

    every: int = option(0, "updates between validations; 0 never validates", ge=0)
    seconds: float = option(600.0, "held-out audio at most, kept decoded in memory, in seconds", gt=0)
    patience: int = option(
        0,
        "validations in a row without a better score after which the run ends; 0: never; the learning rate comes down "
        "over optim.max_updates all the same",
        ge=0,
    )


@dataclass(kw_only=True)
class ListedValidation(ValidationConfig):
    """Loss on held-out speech, with the same crops and masks every time."""

    data: list[str] = option([], "folders, manifests or cut files of held-out audio")


@dataclass(kw_only=True)
class ProbeConfig(CorpusOptions):
    """A small probe during training, in a process beside it: a corpus, and options of `emotion2vec probe`."""

    every: int = option(0, "updates between probes; 0 never probes", ge=0)
    threads: int = option(1, "threads of the probing process", ge=1)
    target: list[str] = option([], "values to predict, such as arousal, in place of classes")
    context: int = option(0, "predict a turn of a conversation from that many turns before it", ge=0)
    folds: str = option("speaker", "how the corpus is split, such as speaker, speaker:5, session or official")
    head: list[str] = option([], "heads, such as mlp or logreg; empty for the probe's own choice")
    seed: list[int] = option([0], "seeds whose mean scores are taken", ge=0)
    layer: str = option("last", "last, mean, mean:N, all, or a block number from 0")
    pooling: str = option("", "mean or mean+std over time, for logreg; empty for its own")
    standardize: bool = option(True, "standardize channels for neural heads")


@dataclass(kw_only=True)
class TrainingConfig:
    """What every run needs; an objective's configuration adds its own sections."""

    data: SpeechConfig = field(default_factory=SpeechConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    log: LogConfig = field(default_factory=LogConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)


@dataclass(kw_only=True)
class ListedConfig(TrainingConfig):
    """What every run on audio without labels needs, which lists name."""

    data: DataConfig = field(default_factory=DataConfig)
    optim: ListedOptim = field(default_factory=ListedOptim)
    validation: ListedValidation = field(default_factory=ListedValidation)


Config = TypeVar("Config")


def load(
    cls: type[Config],
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    check: Callable[[Config], list[str]] = check_ranges,
) -> Config:
    """Read a configuration from YAML, then apply overrides such as `optim.lr=1e-4`.

    Args:
        cls: a dataclass whose fields are sections.
        path: YAML file; None for the defaults.
        overrides: `section.key=value` each.
        check: lists what is wrong with what was read.

    Raises:
        ConfigError: all faults at once: unknown keys with near matches, wrong types, and what `check` lists.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    if path is not None:
        values.update(read_yaml(Path(path)))
    for item in overrides:
        values.update(read_override(item, faults))
    config: Config = build(cls, values, faults)
    faults += check(config)
    if faults:
        raise ConfigError(fault_list("the configuration", faults))
    return config
