"""What of a model learns: the settings of parts of the encoder, of adapters and of the head."""

from __future__ import annotations

import re
from dataclasses import dataclass

from emotion2vec.model.config import HEADS, POOLINGS
from emotion2vec.settings import option

STARTS = ("auto", "own", "rows", "new")
STRATEGIES = re.compile(r"frozen|full|lora|top:[1-9]\d*|gradual:[1-9]\d*")
FREEZES = re.compile(r"none|cnn|stem|blocks:[1-9]\d*")


@dataclass(kw_only=True)
class StrategyConfig:
    """What of the encoder learns."""

    strategy: str = option(
        "full",
        "frozen: only the head; full: all blocks; lora: low-rank adapters in the blocks; top:K: the last K blocks; "
        "gradual:N: the head, and every N updates one block more from the top",
    )
    freeze: str = option(
        "stem", "what stays as it is besides: none, cnn, stem (all below the blocks), blocks:K (and the first K blocks)"
    )
    head_first: int = option(
        0, "updates at first in which the heads alone learn; what strategy says begins after them", ge=0
    )
    head: str = option(
        "auto",
        "the model's own head goes on learning where it has the data's labels (auto), or has to (own), or its rows of "
        "labels that it has (rows); or a new one (new)",
        choices=STARTS,
    )
    standardize: int = option(
        256, "training clips by whose statistics the head standardizes what it reads; 0 for none", ge=0
    )
    solve: int = option(
        0,
        "training clips on which a new main head of kind mean is first solved, by logistic or, of values, ridge "
        "regression, to learn on from there; 0 for none",
        ge=0,
    )
    keep_gb: float = option(
        2.0,
        "memory for what frozen blocks say of clips, computed once where nothing distorts them, in GB; 0 for none",
        ge=0,
    )
    calibrate: bool = option(True, "bring probabilities to one temperature, by the held-out clips")


@dataclass(kw_only=True)
class LoraConfig:
    """Low-rank adapters, of finetune.strategy=lora: W x + alpha / rank · B A x in place of W x, where A and B learn."""

    rank: int = option(8, "rank r: rows of A and columns of B", ge=1)
    alpha: float = option(16.0, "α: what the adapters add counts α / r", gt=0)
    dropout: float = option(0.0, "share of an adapter's inputs that are dropped in training", ge=0, lt=1)
    targets: list[str] = option(
        [],
        "layers that get adapters: names, their ends (fc1), or regular expressions; empty for queries and values",
    )


@dataclass(kw_only=True)
class HeadSettings:
    """The head on the encoder's frames."""

    kind: str = option("mean", "how frames become scores", choices=HEADS)
    pooling: str = option(
        "mean+std",
        "what kinds mean, two, layers, cosine, text-late and text-concatenation read over time",
        choices=POOLINGS,
    )
    hidden: int = option(256, "inner width, of kinds that have one", ge=1)
    acoustic: list[int] = option(
        [], "blocks of the acoustic group of kind fused, counted from 1; empty for the lower third", ge=1
    )
    semantic: list[int] = option(
        [], "blocks of the semantic group of kind fused and of phonemes; empty for the upper third", ge=1
    )
