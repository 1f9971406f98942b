"""What decides iterations: how each round is fine-tuned, the pool, what is kept of it, and when a round is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path

from emotion2vec.extraction.options import ENGINES, PRECISIONS, ExecutorOptions
from emotion2vec.finetune.config import FinetuneConfig, check_config
from emotion2vec.finetune.entries import pair
from emotion2vec.settings import option
from emotion2vec.training.config import load

POOL = "pool"
"""The corpus that kept clips are of."""


@dataclass(kw_only=True)
class PoolSettings:
    """Speech without labels, and how it is labelled."""

    sources: list[str] = option([], "audio files, folders, globs, manifests or URLs, as extract takes them; required")
    root: str = option("", "folder that relative paths of lists start from")
    columns: list[str] = option([], "what tables call their columns, ours first: file=Datei, text=Satz")
    compare: str = option(
        "sound",
        "how clips that people labelled are found in the pool: by bytes, or by sound too, which decodes all once",
        choices=("bytes", "sound"),
    )
    max_bad_share: float = option(0.1, "stop when more than this share of the pool cannot be read", ge=0, le=1)
    shards: int = option(
        1, "parts that labelling is divided into, each for a process of its own; 0: each of pool.sources is one", ge=0
    )
    shard: int = option(-1, "label this part of the next round alone, from 0, and end; -1: all that is missing", ge=-1)
    engine: str = option("local", "where labelling runs", choices=ENGINES)
    ray_address: str = option("", "the Ray cluster; empty for the one that Ray finds")
    actors: int = option(0, "processes of the cluster that hold the model; 0 for all that fit", ge=0)
    precision: str = option("fp32", "what labelling computes in", choices=("auto", *PRECISIONS))
    batch_seconds: float = option(0.0, "audio per batch at most, in s; 0 for the device's own", ge=0)
    workers: int = option(0, "threads that decode; 0 for one per processor, at most 8", ge=0)


@dataclass(kw_only=True)
class FilterSettings:
    """Which labels of the pool are kept; a clip is refused for the first reason that holds."""

    quantile: float = option(
        0.5, "share of each class's clips that is refused, those with the least confidence; 0 for none", ge=0, lt=1
    )
    second: str = option(
        "",
        "a second model that must give the same label: one whose head has the classes, or weights without a head, "
        "which are fine-tuned on the human-labelled clips first; empty for none",
    )
    text: str = option(
        "", "Hugging Face text classifier (name or folder) that must find the same in a clip's transcript; empty: none"
    )
    text_labels: list[str] = option([], "labels of the text classifier, theirs first: joy=happiness; love= is no class")
    window: float = option(0.0, "length of windows whose labels are compared with the clip's, in s; 0 for none", ge=0)
    agreeing: float = option(0.6, "share of a clip's windows that must have its label, at least", gt=0, le=1)
    cap: int = option(0, "clips of a class at most, those with the most confidence; 0 for all", ge=0)
    balance: float = option(
        0.0, "times as many clips as the rarest class that a class has at most; 0 for any number", ge=0
    )
    lacking: str = option(
        "stop",
        "what happens when a class keeps no clip: stop, or learn it from human labels alone",
        choices=("stop", "human"),
    )


@dataclass(kw_only=True)
class RoundSettings:
    """How many rounds there are, and what each learns from."""

    count: int = option(2, "rounds after the first model, which learns from human labels alone; may be raised", ge=0)
    human: float = option(
        0.5,
        "share of the draws that are human-labelled clips, which are drawn again as often as that takes",
        gt=0,
        lt=1,
    )


@dataclass(kw_only=True)
class AcceptSettings:
    """Human-labelled clips that no round learns from, and when a round is accepted by them."""

    share: float = option(
        0.2, "share of each corpus's speakers that is held out, at least one; 0 where others are", ge=0, lt=1
    )
    corpora: list[str] = option([], "names of data.corpora that are held out whole")
    by: str = option(
        "each",
        "each: on none of the held-out corpora may a round be worse beyond the interval; pooled: their mean",
        choices=("each", "pooled"),
    )
    over: str = option(
        "speakers",
        "what the bootstrap draws; clips where a corpus has fewer than 5 held-out speakers",
        choices=("speakers", "clips"),
    )


@dataclass(kw_only=True)
class IteratePlan(FinetuneConfig):
    """Iterations: each round is a fine-tuning run as the sections of `finetune` say, from the same weights."""

    pool: PoolSettings = field(default_factory=PoolSettings)
    filters: FilterSettings = field(default_factory=FilterSettings)
    rounds: RoundSettings = field(default_factory=RoundSettings)
    accept: AcceptSettings = field(default_factory=AcceptSettings)


def load_plan(path: str | Path | None = None, overrides: Sequence[str] = ()) -> IteratePlan:
    """Read a plan as `emotion2vec.finetune.config.load_config` does a configuration, with the same errors."""
    return load(IteratePlan, path, overrides, check_plan)


def check_plan(plan: IteratePlan) -> list[str]:
    """List every value out of range and every combination that cannot work; empty when the iterations can start."""
    faults = check_config(plan)
    pool, filters, accept = plan.pool, plan.filters, plan.accept
    if not pool.sources:
        faults.append("pool.sources is empty, expected speech without labels, such as pool.sources=/audio")
    if pool.shard >= (count := pool.shards or len(pool.sources)):
        faults.append(f"pool.shard is {pool.shard}, expected one below the number of shards ({count})")
    faults += [f"pool: {fault}" for fault in executor_of(plan).faults()]
    if not plan.run.dir:
        faults.append("run.dir is empty, expected a folder for the rounds")
    if plan.data.targets:
        faults.append("data.targets are values, and iterations are of classes")
    if plan.text.encoder:
        faults.append(f"text.encoder is {plan.text.encoder}, expected none: models that label hear speech alone")
    if plan.gmp.transductive:
        faults.append("gmp.transductive is true, expected false: its stages would hear the held-out clips")
    if plan.data.shares:
        faults.append("data.shares is given, expected none: rounds.human says what human labels get")
    if "corpus" not in plan.data.balance:
        faults.append(f"data.balance is {plan.data.balance}, expected corpus-class or corpus, which rounds.human needs")
    if plan.evaluate.folds:
        faults.append(f"evaluate.folds is {plan.evaluate.folds}, expected none: accept says what is held out")
    if plan.run.devices * plan.run.nodes > 1:
        faults.append("run.devices is more than 1, expected one process: rounds train models one after another")
    names = [pair(text)[0] for text in plan.data.corpora]
    if unknown := [name for name in accept.corpora if name not in names]:
        faults.append(f"accept.corpora has {', '.join(unknown)}, expected names of data.corpora: {', '.join(names)}")
    if names and not plan.data.table and set(names) <= set(accept.corpora):
        faults.append("accept.corpora has all of data.corpora, which leaves none to learn from")
    if 0 < filters.balance < 1:
        faults.append(f"filters.balance is {filters.balance:g}, expected 1 or more, or 0")
    faults += [f"filters.text_labels has {t!r}, expected LABEL=CLASS" for t in filters.text_labels if not pair(t)[0]]
    if filters.text_labels and not filters.text:
        faults.append("filters.text_labels is given and filters.text empty, expected a text classifier")
    packages = {"pyarrow": "parquet"} | ({"transformers": "transformers"} if filters.text else {})
    faults += [
        f"iterate needs the package {name}: pip install 'emotion2vec[{extra}]'"
        for name, extra in packages.items()
        if find_spec(name) is None
    ]
    return faults


def executor_of(plan: IteratePlan) -> ExecutorOptions:
    """How labelling runs."""
    pool = plan.pool
    return ExecutorOptions(
        precision=pool.precision,
        device=None if plan.run.accelerator == "auto" else plan.run.accelerator,
        batch_seconds=pool.batch_seconds or None,
        workers=pool.workers or None,
        engine=pool.engine,
        ray_address=pool.ray_address or None,
        actors=pool.actors or None,
    )


def tuning_of(plan: IteratePlan, folder: Path, **data: object) -> FinetuneConfig:
    """The fine-tuning run of a round, in a folder of its own.

    Args:
        plan: of all rounds.
        folder: of the run.
        data: what its data has otherwise.
    """
    parts = {item.name: getattr(plan, item.name) for item in fields(FinetuneConfig)}
    changed = {"run": replace(plan.run, dir=str(folder)), "data": replace(plan.data, **data)}  # type: ignore[arg-type]
    return FinetuneConfig(**{**parts, **changed})
