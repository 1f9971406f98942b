"""The configuration of a pretraining run: dataclasses with ranges, read strictly from YAML and dotted overrides.

Every default is the published base recipe (emotion2vec, ACL 2024, on data2vec 2.0's audio recipe). A field that would
clash with a Python keyword ends in an underscore here and not in YAML: `init.from`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.data.config import AugmentConfig, DataConfig, check_augment
from emotion2vec.errors import ConfigError
from emotion2vec.model.config import DecoderConfig, Emotion2vecConfig, check_model
from emotion2vec.settings import build, check_ranges, fault_list, option, read_override, read_yaml
from emotion2vec.training.config import (
    CheckpointConfig,
    GuardConfig,
    InitConfig,
    LogConfig,
    OptimConfig,
    ProbeConfig,
    RunConfig,
    ValidationConfig,
)


@dataclass(kw_only=True)
class MaskConfig:
    """Time masks of the student's views."""

    views: int = option(8, "masked views (clones) per utterance", ge=1)
    prob: float = option(0.5, "share of frames masked in every view", gt=0, lt=1)
    adjust: float = option(0.05, "added to prob when spans are drawn, to make up for overlaps", ge=0, lt=1)
    span: int = option(5, "frames per masked span", ge=1)


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


def check_config(config: PretrainConfig) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the run can start."""
    faults = check_ranges(config) + check_model(config.model, "model.")
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
    faults += check_augment(config.augment)
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
