"""The configuration of pretraining on clusters of frames (HuBERT; Hsu et al., 2021), read strictly as all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from emotion2vec.clusters.settings import ClusterSettings, HiddenSettings, check_clusters
from emotion2vec.data.config import MOVING, AugmentConfig
from emotion2vec.errors import ConfigError
from emotion2vec.model.config import Emotion2vecConfig, check_model
from emotion2vec.pretrain.config import OBJECTIVES, PretrainConfig, PretrainingConfig, idle_start
from emotion2vec.pretrain.config import load_config as load_pretrain
from emotion2vec.settings import option, read_override, read_yaml
from emotion2vec.training.checks import check_listed, idle_listed, told
from emotion2vec.training.config import InitConfig, load


@dataclass(kw_only=True)
class FoundClusters(ClusterSettings):
    """Where the frames come from that are clustered, and where clusters are kept."""

    model: str = option(
        "", "model whose layers are clustered; empty for cepstra, 39 for a frame, as in the first of two iterations"
    )
    folder: str = option("", "where clusters and labels are kept; empty for the folder clusters in run.dir")

    def fitted(self, layers: list[int]) -> ClusterSettings:
        """How clusters are fitted to so many layers."""
        known = {item.name: getattr(self, item.name) for item in fields(ClusterSettings)}
        return ClusterSettings(**known | {"layers": layers})


@dataclass(kw_only=True)
class ClusterConfig(PretrainingConfig):
    """Everything that decides pretraining on clusters, with `objective: clusters`."""

    model: Emotion2vecConfig = field(default_factory=Emotion2vecConfig)
    clusters: FoundClusters = field(default_factory=FoundClusters)
    hidden: HiddenSettings = field(default_factory=HiddenSettings)
    init: InitConfig = field(default_factory=InitConfig)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> PretrainConfig | ClusterConfig:
    """Read a configuration of pretraining, of the objective that it names.

    Raises:
        ConfigError: as for any, or an override names another objective than the file is for.
    """
    ignored: list[str] = []  # which are told when all of it is read
    values = {} if path is None else read_yaml(Path(path))
    there = values.get("objective", PretrainConfig().objective)
    for item in overrides:
        values |= read_override(item, ignored)
    asked = values.get("objective", there)
    if path is not None and asked != there and asked in OBJECTIVES:
        raise ConfigError(f"objective is {asked}, and {path} is for {there}, expected --config {CONFIGS[asked]}")
    if asked != "clusters":
        return load_pretrain(path, overrides)
    return load(ClusterConfig, path, overrides, check_config)


def check_config(config: ClusterConfig) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the run can start."""
    faults = check_listed(config) + check_model(config.model, "model.")
    faults += check_clusters(config.clusters, "clusters.") + check_still(config.augment)
    if not faults:
        known, longest = config.model.max_frames, config.model.grid.count(config.data.max_samples)
        if known and longest > known:
            faults.append(f"data.max_samples gives {longest} frames, expected at most model.max_frames ({known})")
    return faults


def check_still(augment: AugmentConfig) -> list[str]:
    """List distortions that move sounds away from where they were labelled."""
    return [
        f"augment.{name}_prob is {value:g}, expected 0: it moves sounds away from where they were labelled"
        for name in MOVING
        if (value := getattr(augment, f"{name}_prob"))
    ]


def without_effect(config: ClusterConfig) -> list[str]:
    """Settings that differ from their defaults and do nothing beside the others, each with the reason."""
    rules = [
        *idle_start(config.optim, config.init),
        ("clusters.layers", not config.clusters.model, "clusters.model is empty, and cepstra are one layer"),
        ("hidden.span", not config.hidden.share, "hidden.share is 0"),
        ("hidden.seen", not config.hidden.share, "hidden.share is 0"),
        *((f"guard.{name}", True, "it watches over targets that move") for name in WATCHED),
    ]
    return told(config, [*rules, *idle_listed(config)])


CONFIGS = dict(zip(OBJECTIVES, ("base", "clusters"), strict=True))
"""Configurations that ship, by objective."""

WATCHED = ("after_updates", "min_target_std", "min_prediction_std")
"""Settings of the guard against targets that become constant."""
