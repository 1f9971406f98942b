"""The configuration of a pretraining run: dataclasses with ranges, read strictly from YAML and dotted overrides.

Every default is the published base recipe (emotion2vec, ACL 2024, on data2vec 2.0's audio recipe).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emotion2vec.model.config import DecoderConfig, Emotion2vecConfig, check_model
from emotion2vec.settings import option
from emotion2vec.training.checks import Idle, check_listed, idle_listed, told
from emotion2vec.training.config import InitConfig, ListedConfig, ListedOptim, load


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
    category: float = option(0.0, "weight of the contrast between utterances that have labels; 0 learns none", ge=0)
    category_temperature: float = option(0.1, "temperature of that contrast", gt=0)


OBJECTIVES = ("emotion2vec", "clusters")


@dataclass(kw_only=True)
class PretrainingConfig(ListedConfig):
    """What every pretraining needs, whatever its objective."""

    objective: str = option(
        "emotion2vec", "what is learnt; clusters (of frames) has settings of its own", choices=OBJECTIVES
    )


@dataclass(kw_only=True)
class PretrainConfig(PretrainingConfig):
    """Everything that decides a pretraining run."""

    model: Emotion2vecConfig = field(default_factory=Emotion2vecConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    init: InitConfig = field(default_factory=InitConfig)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Read a pretraining configuration from YAML, then apply overrides such as `optim.lr=1e-4`.

    Raises:
        ConfigError: all faults at once: unknown keys with near matches, wrong types, values out of range, and
            combinations that cannot work.
    """
    return load(PretrainConfig, path, overrides, check_config)


def check_config(config: PretrainConfig) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the run can start."""
    faults = check_listed(config) + check_model(config.model, "model.")
    tokens, utterance = config.model.tokens, config.loss.utterance
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
    known, longest = config.model.max_frames, config.model.grid.count(config.data.max_samples) if not faults else 0
    if known and longest > known:
        faults.append(f"data.max_samples gives {longest} frames, expected at most model.max_frames ({known})")
    return faults


def without_effect(config: PretrainConfig) -> list[str]:
    """Settings that differ from their defaults and do nothing beside the others, each with the reason."""
    loss = config.loss
    no_utterance_loss = "there is no utterance loss (loss.utterance is none)"
    rules = [
        *idle_start(config.optim, config.init),
        ("loss.alpha", loss.utterance == "none", no_utterance_loss),
        ("loss.utterance_target", loss.utterance == "none", no_utterance_loss),
        ("loss.utterance", loss.alpha == 0 and not loss.category, "loss.alpha is 0"),
        ("loss.category_temperature", loss.category == 0, "loss.category is 0"),
        ("ema.decay", config.ema.anneal_updates <= 1, "ema.anneal_updates leaves only ema.end_decay"),
    ]
    return told(config, [*rules, *idle_listed(config)])


def idle_start(optim: ListedOptim, init: InitConfig) -> list[Idle]:
    """Settings of the CNN's learning and of where a run starts that may do nothing beside the others."""
    frozen = not (optim.cnn_grad_scale and optim.cnn_lr_scale)
    return [
        (
            "optim.cnn_grad_scale",
            not frozen and optim.cnn_grad_scale != 1,
            "Adam divides gradients by their own size again; optim.cnn_lr_scale slows the CNN",
        ),
        ("optim.cnn_lr_scale", optim.cnn_grad_scale == 0, "optim.cnn_grad_scale=0 freezes the CNN"),
        ("init.use", not init.from_, "init.from is empty"),
        ("init.min_share", not init.from_, "init.from is empty"),
    ]
