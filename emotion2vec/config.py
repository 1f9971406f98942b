"""The configuration of a pretraining run: dataclasses with ranges, read strictly from YAML and dotted overrides.

Every default is the published base recipe (emotion2vec, ACL 2024, on data2vec 2.0's audio recipe). A field that would
clash with a Python keyword ends in an underscore here and not in YAML: `init.from`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.audio import KERNELS, SAMPLE_RATE, STRIDES
from emotion2vec.errors import ConfigError
from emotion2vec.strict import build, check_ranges, fault_list, option, read_override, read_yaml, to_dict


@dataclass(kw_only=True)
class Emotion2vecConfig:
    """Dimensions of the network; what a checkpoint carries and all that inference needs."""

    channels: int = option(512, "CNN channels", ge=1)
    kernels: list[int] = option(list(KERNELS), "CNN kernels, in each layer's input steps", ge=1)
    strides: list[int] = option(list(STRIDES), "CNN strides, in each layer's input steps", ge=1)
    width: int = option(768, "model width D", ge=1)
    heads: int = option(12, "attention heads", ge=1)
    ffn_width: int = option(3072, "inner width of the feed-forward layers", ge=1)
    prenet_depth: int = option(4, "blocks of the context encoder, which are never targets", ge=0)
    depth: int = option(8, "main blocks", ge=1)
    tokens: int = option(10, "utterance tokens in front of the frames", ge=0)
    position_layers: int = option(5, "stacked positional convolutions", ge=1)
    position_width: int = option(95, "frames that the positional convolutions share out as kernels", ge=1)
    position_groups: int = option(16, "groups of the positional convolutions", ge=1)
    dropout: float = option(0.1, "dropout after attention, after the FFN and before the prenet", ge=0, lt=1)
    attention_dropout: float = option(0.1, "dropout on attention weights", ge=0, lt=1)
    layerdrop: float = option(0.05, "probability of leaving a block out of an update", ge=0, lt=1)


@dataclass(kw_only=True)
class MaskConfig:
    """Time masks of the student's views."""

    views: int = option(8, "masked views (clones) per utterance", ge=1)
    prob: float = option(0.5, "share of frames masked in every view", gt=0, lt=1)
    adjust: float = option(0.05, "added to prob when spans are drawn, to make up for overlaps", ge=0, lt=1)
    span: int = option(5, "frames per masked span", ge=1)


@dataclass(kw_only=True)
class DecoderConfig:
    """Convolutional decoder that predicts the targets at masked frames."""

    width: int = option(384, "channels of the decoder's convolutions", ge=1)
    layers: int = option(4, "convolutions", ge=1)
    kernel: int = option(7, "kernel in frames, odd", ge=1)
    groups: int = option(16, "groups of the convolutions", ge=1)
    input_dropout: float = option(0.1, "dropout on the student's outputs", ge=0, lt=1)
    mask_noise: float = option(0.01, "standard deviation of the noise in place of masked frames", ge=0)


@dataclass(kw_only=True)
class EmaConfig:
    """The teacher: an exponential moving average of the student."""

    decay: float = option(0.999, "decay at update 0", ge=0, le=1)
    end_decay: float = option(0.99999, "decay from anneal_updates on", ge=0, le=1)
    anneal_updates: int = option(20_000, "updates over which the decay rises linearly", ge=0)
    frontend: bool = option(False, "the teacher keeps its own EMA of CNN and projection and sees the waveform")


UTTERANCE_LOSSES = ("none", "token", "chunk", "global")
UTTERANCE_TARGETS = ("plain", "layernorm", "standardized")


@dataclass(kw_only=True)
class LossConfig:
    """Targets and losses."""

    top_k: int = option(8, "last main blocks whose FFN outputs are averaged to targets", ge=1)
    utterance: str = option("chunk", "what the utterance loss compares with the target", choices=UTTERANCE_LOSSES)
    alpha: float = option(1.0, "weight of the utterance loss", ge=0)
    utterance_target: str = option(
        "standardized", "how the teacher's pooled outputs become the utterance target", choices=UTTERANCE_TARGETS
    )


@dataclass(kw_only=True)
class DataConfig:
    """Audio to train on and how it is batched."""

    train: list[str] = option([], "prepared corpora (folders or URLs), folders or manifests of audio; required")
    weights: list[float] = option([], "how often each of data.train is seen per epoch; empty for once each", gt=0)
    window: int = option(100_000, "utterances shuffled together, whose shards are read at the same time", ge=1)
    min_samples: int = option(8_000, "shorter utterances are left out, in samples at 16 kHz", ge=800)
    max_samples: int = option(320_000, "longer utterances are cropped at random to this, in samples", ge=800)
    length_step: int = option(1, "batches are cropped to a multiple of this, in samples, so that shapes recur", ge=1)
    batch_seconds: float = option(37.5, "audio per batch at most, in seconds", gt=0)
    audio_per_update: float = option(900.0, "audio per update at most, of all devices together, in seconds", gt=0)
    buckets: int = option(20, "how finely batches sort by length: buckets from a length to a third more", ge=1)
    workers: int = option(2, "processes that decode audio; 0 decodes in the training process", ge=0)
    cache: bool = option(False, "keep decoded audio in memory (0.23 GB an hour; needs workers: 0)")
    patience: float = option(600.0, "how long a data source that went away is waited for, in seconds", ge=0)
    max_bad_share: float = option(0.01, "stop when more than this share of the files cannot be used", ge=0, le=1)


@dataclass(kw_only=True)
class AugmentConfig:
    """Distortions of the audio, drawn anew at every update; a probability of 0 turns one off."""

    noise: list[str] = option([], "noise to add: prepared corpora, folders or manifests")
    noise_prob: float = option(0.0, "share of utterances with noise", ge=0, le=1)
    noise_snr_low: float = option(5.0, "lowest ratio of speech to noise, in dB", ge=-50, le=100)
    noise_snr_high: float = option(20.0, "highest ratio of speech to noise, in dB", ge=-50, le=100)
    reverb: list[str] = option([], "impulse responses of rooms: as augment.noise; empty for synthetic ones")
    reverb_prob: float = option(0.0, "share of utterances with reverberation", ge=0, le=1)
    reverb_seconds: float = option(0.6, "longest reverberation time (T60) of synthetic rooms, in seconds", ge=0.1, le=5)
    speed_prob: float = option(0.0, "share of utterances with another speed, pitch included", ge=0, le=1)
    speed_low: float = option(0.9, "lowest factor on the speed", ge=0.5, le=2)
    speed_high: float = option(1.1, "highest factor on the speed", ge=0.5, le=2)
    clip_prob: float = option(0.0, "share of utterances that are clipped", ge=0, le=1)
    clip_db: float = option(12.0, "clipping level below the peak at most, in dB", ge=0, le=60)
    gain_prob: float = option(0.0, "share of utterances with a gain, after normalization", ge=0, le=1)
    gain_db: float = option(6.0, "gain up or down at most, in dB", ge=0, le=60)


@dataclass(kw_only=True)
class OptimConfig:
    """AdamW with linear warm-up and cosine decay to zero."""

    lr: float = option(7.5e-5, "peak learning rate", gt=0)
    warmup_updates: int = option(5_000, "updates of linear warm-up", ge=0)
    max_updates: int = option(100_000, "updates of the whole run", ge=1)
    accumulate: int = option(0, "batches per update on each device; 0: as data.audio_per_update needs", ge=0)
    beta1: float = option(0.9, "Adam's first moment decay", ge=0, lt=1)
    beta2: float = option(0.98, "Adam's second moment decay", ge=0, lt=1)
    eps: float = option(1e-6, "Adam's epsilon", gt=0)
    weight_decay: float = option(0.01, "decoupled weight decay, none on 1-d parameters", ge=0)
    clip_norm: float = option(0.0, "largest gradient norm; 0 leaves gradients alone", ge=0)
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
    extend: bool = option(False, "go on with a finished run to a larger optim.max_updates, on a new schedule")


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
    """Loss on held-out speech, with the same crops and masks every time."""

    data: list[str] = option([], "folders, manifests or cut files of held-out audio")
    every: int = option(0, "updates between validations; 0 never validates", ge=0)
    seconds: float = option(600.0, "held-out audio at most, kept decoded in memory, in seconds", gt=0)


@dataclass(kw_only=True)
class ProbeConfig:
    """A small probe during training, in a process of its own beside it."""

    every: int = option(0, "updates between probes; 0 never probes", ge=0)
    arguments: list[str] = option([], "options of `emotion2vec probe`, such as [--dataset, emodb, --root, EMODB]")
    threads: int = option(1, "threads of the probing process", ge=1)


@dataclass(kw_only=True)
class PretrainConfig:
    """Everything that decides a pretraining run."""

    model: Emotion2vecConfig = field(default_factory=Emotion2vecConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    init: InitConfig = field(default_factory=InitConfig)
    log: LogConfig = field(default_factory=LogConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read a pretraining configuration from YAML, then apply overrides such as `optim.lr=1e-4`.

    Raises:
        ConfigError: all faults at once: unknown keys with near matches, wrong types, values out of range, and
            combinations that cannot work.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    if path is not None:
        values.update(read_yaml(Path(path)))
    for item in overrides:
        values.update(read_override(item, faults))
    config: PretrainConfig = build(PretrainConfig, values, faults)
    faults += check_config(config)
    if faults:
        raise ConfigError(fault_list("the configuration", faults))
    return config


def model_config(values: Mapping[str, Any], source: str) -> Emotion2vecConfig:
    """Build and check the network's configuration from a checkpoint's plain mapping; `source` is for messages.

    Raises:
        ConfigError: as `load_config`.
    """
    faults: list[str] = []
    config: Emotion2vecConfig = build(Emotion2vecConfig, dict(values), faults)
    faults += check_ranges(config) + _check_model(config, "")
    if faults:
        raise ConfigError(fault_list(source, faults))
    return config


def to_yaml(config: Any) -> str:
    """Write a configuration as YAML that `load_config` reads back to the same values."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(to_dict(config)))


def check_config(config: PretrainConfig) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the run can start."""
    faults = check_ranges(config) + _check_model(config.model, "model.")
    tokens, utterance = config.model.tokens, config.loss.utterance
    if not config.data.train:
        faults.append("data.train is empty, expected folders or manifests of audio, such as data.train=/speech")
    if not config.run.dir:
        faults.append("run.dir is empty, expected a folder for the run, such as run.dir=runs/base")
    if config.decoder.kernel % 2 == 0:
        faults.append(f"decoder.kernel is {config.decoder.kernel}, expected an odd number of frames")
    for name, size in (("model.width", config.model.width), ("decoder.width", config.decoder.width)):
        if size % config.decoder.groups:
            faults.append(f"{name} is {size}, expected a multiple of decoder.groups ({config.decoder.groups})")
    if config.mask.prob + config.mask.adjust >= 1:
        faults.append(f"mask.prob + mask.adjust is {config.mask.prob + config.mask.adjust:g}, expected below 1")
    if config.loss.top_k > config.model.depth:
        faults.append(f"loss.top_k is {config.loss.top_k}, expected at most model.depth ({config.model.depth})")
    if utterance == "token" and tokens != 1:
        faults.append(f"loss.utterance is token and model.tokens is {tokens}, expected model.tokens=1")
    if utterance == "chunk" and tokens < 2:
        faults.append(f"loss.utterance is chunk and model.tokens is {tokens}, expected at least 2")
    if config.data.length_step > config.data.min_samples:
        faults.append(f"data.length_step is {config.data.length_step}, expected at most data.min_samples")
    if config.data.max_samples < config.data.min_samples:
        faults.append(f"data.max_samples is {config.data.max_samples}, expected at least data.min_samples")
    if config.data.max_samples > config.data.batch_seconds * SAMPLE_RATE:
        faults.append(
            f"data.max_samples is {config.data.max_samples}, expected at most data.batch_seconds "
            f"({config.data.batch_seconds:g} s, {config.data.batch_seconds * SAMPLE_RATE:.0f} samples)"
        )
    if fault := _update_fault(config, config.run.devices * config.run.nodes):
        faults.append(fault)
    if config.data.cache and config.data.workers:
        faults.append(f"data.cache is on and data.workers is {config.data.workers}, expected data.workers=0")
    if config.data.weights and len(config.data.weights) != len(config.data.train):
        count = len(config.data.weights)
        faults.append(f"data.weights has {count} values and data.train {len(config.data.train)}, expected one each")
    faults += _check_augment(config.augment)
    if config.optim.warmup_updates > config.optim.max_updates:
        faults.append(
            f"optim.warmup_updates is {config.optim.warmup_updates}, expected at most optim.max_updates "
            f"({config.optim.max_updates}); a short trial needs a short warm-up too"
        )
    return faults + _check_run(config)


def batches_per_device(config: PretrainConfig, devices: int) -> int:
    """Batches that each device adds up in an update.

    Raises:
        ConfigError: `data.audio_per_update` does not divide over so many devices.
    """
    if fault := _update_fault(config, devices):
        raise ConfigError(fault)
    if config.optim.accumulate:
        return config.optim.accumulate
    return round(config.data.audio_per_update / (config.data.batch_seconds * devices))


def _update_fault(config: PretrainConfig, devices: int) -> str | None:
    """Why `data.audio_per_update` cannot be shared out as whole batches, and what could be; None where it can."""
    data = config.data
    step = data.batch_seconds * devices
    count = data.audio_per_update / step
    if config.optim.accumulate or (count > 0.5 and abs(count - round(count)) < 1e-4):
        return None
    each = data.audio_per_update / devices
    fitting = each / max(1, math.ceil(each / data.batch_seconds - 1e-4))
    remedy = f"data.audio_per_update={step * max(1, round(count)):g}"
    if fitting * SAMPLE_RATE >= data.max_samples:
        remedy = f"data.batch_seconds={fitting:.7g} or {remedy}"
    where = "one device" if devices == 1 else f"{devices} devices"
    return (
        f"data.audio_per_update is {data.audio_per_update:g} s, which is not a whole number of batches of "
        f"data.batch_seconds ({data.batch_seconds:g} s) on each of {where}, expected a multiple of {step:g} s, such as "
        f"{remedy}"
    )


def without_effect(config: PretrainConfig) -> list[str]:
    """Settings that differ from their defaults and do nothing beside the others, each with the reason."""
    usual = PretrainConfig()
    optim, loss, augment = config.optim, config.loss, config.augment
    frozen = not (optim.cnn_grad_scale and optim.cnn_lr_scale)
    no_utterance_loss = "there is no utterance loss (loss.utterance is none)"
    rules = [
        (
            "optim.cnn_grad_scale",
            not frozen and optim.cnn_grad_scale != 1,
            "Adam divides gradients by their own size again; optim.cnn_lr_scale slows the CNN",
        ),
        ("optim.cnn_lr_scale", optim.cnn_grad_scale == 0, "optim.cnn_grad_scale=0 freezes the CNN"),
        ("loss.alpha", loss.utterance == "none", no_utterance_loss),
        ("loss.utterance_target", loss.utterance == "none", no_utterance_loss),
        ("loss.utterance", loss.alpha == 0, "loss.alpha is 0"),
        ("ema.decay", config.ema.anneal_updates <= 1, "ema.anneal_updates leaves only ema.end_decay"),
        ("data.audio_per_update", optim.accumulate > 0, "optim.accumulate says how many batches an update has"),
        ("augment.noise", augment.noise_prob == 0, "augment.noise_prob is 0"),
        ("augment.reverb", augment.reverb_prob == 0, "augment.reverb_prob is 0"),
        ("augment.reverb_seconds", augment.reverb_prob == 0 or bool(augment.reverb), "no synthetic rooms are used"),
        ("init.use", not config.init.from_, "init.from is empty"),
        ("init.min_share", not config.init.from_, "init.from is empty"),
        ("guard.max_spikes", config.guard.spike == "stop", "guard.spike is stop, which the first spike does"),
        ("validation.data", not config.validation.every, "validation.every is 0"),
        ("validation.seconds", not config.validation.every, "validation.every is 0"),
        ("probe.arguments", not config.probe.every, "probe.every is 0"),
    ]
    rules += [
        (f"augment.{kind}_{end}", getattr(augment, f"{kind}_prob") == 0, f"augment.{kind}_prob is 0")
        for kind, ends in (
            ("noise", ("snr_low", "snr_high")),
            ("speed", ("low", "high")),
            ("clip", ("db",)),
            ("gain", ("db",)),
        )
        for end in ends
    ]
    return [
        f"{name} is {_value(config, name)!r}, which has no effect: {reason}"
        for name, idle, reason in rules
        if idle and _value(config, name) != _value(usual, name)
    ]


def _value(config: PretrainConfig, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def _check_run(config: PretrainConfig) -> list[str]:
    """List what cannot work among devices, checkpoints, validation and probes."""
    faults = []
    if config.run.strategy == "fsdp" and config.run.precision == "fp16":
        faults.append("run.strategy is fsdp and run.precision fp16, expected bf16 or fp32: no common loss scale")
    if config.validation.every and not config.validation.data:
        faults.append("validation.every is on and validation.data is empty, expected held-out audio")
    if config.probe.every and not config.probe.arguments:
        faults.append("probe.every is on and probe.arguments is empty, expected options such as [--table, speech.csv]")
    for kind, every in (("validation", config.validation.every), ("probe", config.probe.every)):
        if config.checkpoint.keep_best == kind and (not every or every % config.checkpoint.every):
            faults.append(
                f"checkpoint.keep_best is {kind} and {kind}.every is {every}, expected a multiple of checkpoint.every "
                f"({config.checkpoint.every})"
            )
    return faults


def _check_augment(augment: AugmentConfig) -> list[str]:
    faults = []
    if augment.noise_prob and not augment.noise:
        faults.append(f"augment.noise_prob is {augment.noise_prob:g} and augment.noise empty, expected a list of noise")
    for name in ("noise_snr", "speed"):
        low, high = getattr(augment, f"{name}_low"), getattr(augment, f"{name}_high")
        if low > high:
            faults.append(f"augment.{name}_low is {low:g}, expected at most augment.{name}_high ({high:g})")
    return faults


def _check_model(model: Emotion2vecConfig, prefix: str) -> list[str]:
    faults = []
    if model.width % model.heads:
        faults.append(f"{prefix}width is {model.width}, expected a multiple of {prefix}heads ({model.heads})")
    if model.width % model.position_groups:
        faults.append(
            f"{prefix}width is {model.width}, expected a multiple of {prefix}position_groups ({model.position_groups})"
        )
    if (model.position_width // model.position_layers) % 2 == 0:
        faults.append(
            f"{prefix}position_width // {prefix}position_layers is {model.position_width // model.position_layers}, "
            "expected an odd kernel"
        )
    if len(model.kernels) != len(model.strides) or not model.kernels:
        faults.append(
            f"{prefix}kernels has {len(model.kernels)} layers and {prefix}strides {len(model.strides)}, "
            "expected the same number, at least 1"
        )
    return faults
