"""The configuration of a benchmark: which corpora, features, heads and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from emotion2vec.settings import option
from emotion2vec.tasks.targets import task_kind


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """One of several corpora that are joined, see `Part`; one of `dataset`, `table`, `emobox` or `root` alone.

    `columns` are the table's names by ours, `labels` names of classes by the corpus's labels.
    """

    dataset: str | None = None
    table: str | None = None
    emobox: str | None = None
    root: str | None = None
    title: str = ""
    language: str | None = None
    split: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    only: str | None = None

    @property
    def name(self) -> str:
        """Name in the report."""
        return self.title or Path(self.dataset or self.table or self.emobox or self.root or "").stem


@dataclass(frozen=True, kw_only=True)
class CorpusPlan:
    """One corpus, or several joined, with what is predicted on which folds.

    Exactly one of `dataset`, `table`, `emobox`, `root` alone (as in `probe`), or `parts`. `targets` and `context` are
    those of `probe`; `classes` are those that joined corpora keep, by default the ones that all of them have. `heads`
    replace those of the whole plan, see `heads_of`. `columns` are the table's names by ours, and `labels` our names of
    labels by the table's.
    """

    dataset: str | None = None
    table: str | None = None
    emobox: str | None = None
    root: str | None = None
    parts: tuple[PartPlan, ...] = ()
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    context: int = 0
    folds: str = "speaker"
    heads: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @property
    def name(self) -> str:
        """Name in the report."""
        source = self.dataset or self.table or self.emobox or self.root or ""
        joined = " + ".join(part.name for part in self.parts)
        return self.title or f"{joined or Path(source).stem} ({self.folds})"

    @property
    def kind(self) -> str:
        """What is learnt, see `task_kind`."""
        return task_kind(self.targets, self.context)


@dataclass(frozen=True, kw_only=True)
class FeaturePlan:
    """One feature: what `--features` takes, with its layer, pooling and heads of its own, see `heads_of`."""

    name: str
    layer: str = "last"
    pooling: str | None = None
    heads: tuple[str, ...] = ()
    title: str = ""

    @property
    def label(self) -> str:
        """Name in the report."""
        settings = [f"layer {self.layer}"] * (self.layer != "last") + [self.pooling] * bool(self.pooling)
        return self.title or ", ".join([self.name, *map(str, settings)])


@dataclass(frozen=True, kw_only=True)
class BenchmarkPlan:
    """Everything of a benchmark; relative paths of corpora start at `data`, and tables were located by `load_plan`."""

    corpora: tuple[CorpusPlan, ...] = option(MISSING, "what to probe on: corpora, tables, or several of them joined")
    features: tuple[FeaturePlan, ...] = option(MISSING, "what to probe: names, or mappings with a layer and heads")
    heads: tuple[str, ...] = option(("logreg",), "what is trained on features that name no heads of their own")
    seeds: tuple[int, ...] = option((0,), "each gives other validation speakers, weights and batches")
    standardize: bool = option(True, "standardize channels for neural heads")
    title: str = option("Speech emotion benchmark", "title of the report")
    data: str = option(".", "folder that relative paths of corpora start from")
    output: str = option("benchmark", "folder of results and report")
    cache: str | None = option(None, "folder that keeps features between runs")
    device: str | None = option(None, "where networks run; by default a CUDA GPU if there is one")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def to_yaml(self) -> str:
        """What `load_plan` makes the same plan of; settings that are the usual ones are left out."""
        import yaml

        return yaml.safe_dump(_unusual(self), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _unusual(item: Any) -> Any:
    """A part of a plan as plain values, without those that are the defaults."""
    if isinstance(item, tuple):
        return [_unusual(part) for part in item]
    if not is_dataclass(item):
        return item
    return {
        entry.name: _unusual(value)
        for entry in fields(item)
        if (value := getattr(item, entry.name)) != entry.default and value != {}
    }
