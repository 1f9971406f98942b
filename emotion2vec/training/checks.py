"""What of a configuration cannot work together, and what of it does nothing, whatever the objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.data.config import check_augment
from emotion2vec.errors import ConfigError
from emotion2vec.settings import check_ranges
from emotion2vec.training.config import ListedConfig, ProbeConfig, TrainingConfig
from emotion2vec.training.schedules import warmup

Idle = tuple[str, bool, str]
"""A setting by its dotted name, whether it has no effect, and why."""


def check_listed(config: ListedConfig) -> list[str]:
    """List every value out of range, and what cannot work together, of a run on audio without labels."""
    faults = []
    if not config.data.train:
        faults.append("data.train is empty, expected folders or manifests of audio, such as data.train=/speech")
    if config.validation.every and not config.validation.data:
        faults.append("validation.every is on and validation.data is empty, expected held-out audio")
    if config.augment.mix_prob:
        faults.append(
            f"augment.mix_prob is {config.augment.mix_prob:g}, expected 0: there are no labels to mix as much"
        )
    if fault := _update_fault(config, config.run.devices * config.run.nodes):
        faults.append(fault)
    return faults + check_training(config)


def check_training(config: TrainingConfig) -> list[str]:
    """List every value out of range, and what cannot work together, whatever the objective."""
    faults = check_ranges(config)
    if not config.run.dir:
        faults.append("run.dir is empty, expected a folder for the run, such as run.dir=runs/base")
    faults += config.data.faults()
    faults += check_augment(config.augment)
    return faults + _check_run(config)


def _check_run(config: TrainingConfig) -> list[str]:
    """List what cannot work among devices, checkpoints, validation and probes."""
    faults = []
    if config.run.strategy == "fsdp" and config.run.precision == "fp16":
        faults.append("run.strategy is fsdp and run.precision fp16, expected bf16 or fp32: no common loss scale")
    if config.probe.every:
        faults += [f"probe.every is on, but of section probe: {fault}" for fault in _probe_faults(config.probe)]
    for kind, every in (("validation", config.validation.every), ("probe", config.probe.every)):
        if config.checkpoint.keep_best == kind and (not every or every % config.checkpoint.every):
            faults.append(
                f"checkpoint.keep_best is {kind} and {kind}.every is {every}, expected a multiple of checkpoint.every "
                f"({config.checkpoint.every})"
            )
    return faults


def _probe_faults(probe: ProbeConfig) -> list[str]:
    """What is wrong with the probe, as far as can be told before there is a model."""
    faults = [] if probe.seed else ["seed is empty, expected at least one number"]
    wanted = [f"targets {', '.join(probe.target)}"] * bool(probe.target) + ["a context"] * bool(probe.context)
    if len(wanted) > 1:
        faults.append("targets and a context are given, expected one of them")
    if len(probe.head) > 1:
        faults.append(f"head is {', '.join(probe.head)}, expected one, whose scores are logged and chosen by")
    return faults + (probe.faults or probe.lacking(wanted))


def batches_per_device(config: TrainingConfig, devices: int) -> int:
    """Batches that each device adds up in an update.

    Raises:
        ConfigError: `data.audio_per_update` does not divide over so many devices.
    """
    if config.optim.accumulate:
        return config.optim.accumulate
    assert isinstance(config, ListedConfig)
    if fault := _update_fault(config, devices):
        raise ConfigError(fault)
    return round(config.data.audio_per_update / (config.data.batch_seconds * devices))


def _update_fault(config: ListedConfig, devices: int) -> str | None:
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


def idle_listed(config: ListedConfig) -> list[Idle]:
    """Settings that may do nothing beside the others, of a run on audio without labels."""
    many = config.optim.accumulate > 0
    return [
        ("data.audio_per_update", many, "optim.accumulate says how many batches an update has"),
        ("validation.data", not config.validation.every, "validation.every is 0"),
        *idle_settings(config),
    ]


def idle_settings(config: TrainingConfig) -> list[Idle]:
    """Settings that may do nothing beside the others, whatever the objective."""
    optim, augment = config.optim, config.augment
    rules = [
        (
            "optim.warmup_updates",
            warmup(optim) != optim.warmup_updates,
            "the run is no longer; a tenth of it is warm-up",
        ),
        ("augment.noise", augment.noise_prob == 0, "augment.noise_prob is 0"),
        ("augment.reverb", augment.reverb_prob == 0, "augment.reverb_prob is 0"),
        ("augment.reverb_seconds", augment.reverb_prob == 0 or bool(augment.reverb), "no synthetic rooms are used"),
        ("augment.codecs", augment.codec_prob == 0, "augment.codec_prob is 0"),
        ("guard.max_spikes", config.guard.spike == "stop", "guard.spike is stop, which the first spike does"),
        ("validation.seconds", not config.validation.every, "validation.every is 0"),
        ("validation.patience", not config.validation.every, "validation.every is 0"),
    ]
    rules += [
        (f"probe.{item.name}", not config.probe.every, "probe.every is 0")
        for item in fields(config.probe)
        if item.name != "every"
    ]
    return rules + [
        (f"augment.{kind}_{end}", getattr(augment, f"{kind}_prob") == 0, f"augment.{kind}_prob is 0")
        for kind, ends in (
            ("mix", ("least",)),
            ("noise", ("snr_low", "snr_high")),
            ("speed", ("low", "high")),
            ("pitch", ("semitones",)),
            ("stretch", ("low", "high")),
            ("shift", ("seconds",)),
            ("clip", ("db",)),
            ("codec", ("level",)),
            ("frequency_mask", ("share",)),
            ("time_mask", ("share",)),
            ("gain", ("db",)),
        )
        for end in ends
    ]


def told(config: TrainingConfig, rules: Sequence[Idle]) -> list[str]:
    """Settings that differ from their defaults and do nothing beside the others, each with the reason."""
    usual = type(config)()
    return [
        f"{name} is {_value(config, name)!r}, which has no effect: {reason}"
        for name, idle, reason in rules
        if idle and _value(config, name) != _value(usual, name)
    ]


def _value(config: TrainingConfig, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(config, section), key)
