"""The configuration of a comparison of systems: one corpus, its folds, and what is trained on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.corpora.folds import scheme_fault
from emotion2vec.errors import ConfigError
from emotion2vec.guesses import unknown
from emotion2vec.probe.heads import HEADS
from emotion2vec.settings import option, read_override, read_yaml

VERBS = ("probe", "finetune")


@dataclass(frozen=True, kw_only=True)
class SystemPlan:
    """A preset and what differs from it.

    Attributes:
        title: its name in the table.
        verb: `probe` for a head on frozen features, or `finetune`.
        head: of a probe.
        config: of `finetune`, a shipped name or a file.
        model: the backbone (of a probe, what `--features` takes); that of the plan where empty.
        settings: overrides such as `finetune.strategy=lora`; of a probe, its options such as `pooling=mean+std`.
        published: what others state, by the dataset that they state it of.
    """

    title: str
    verb: str = "probe"
    head: str = "logreg"
    config: str = "classify"
    model: str = ""
    settings: tuple[str, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its files are called."""
        return re.sub(r"[^A-Za-z0-9]+", "-", self.title).strip("-").lower() or "system"


@dataclass(frozen=True, kw_only=True)
class SystemsPlan:
    """Systems on the same folds of one corpus, which is a dataset below `data` or a table."""

    systems: tuple[SystemPlan, ...] = option(MISSING, "what is compared, in the order of the table")
    title: str = option("Systems", "title of the report")
    data: str = option(".", "folder that root lies below")
    dataset: str = option("", "a named corpus; empty for a table")
    root: str = option("", "its folder, below data; of a table, where its audio is")
    table: str = option("", "a table of labelled clips")
    folds: str = option("speaker", "scheme of folds, as probe and finetune take it")
    model: str = option(DEFAULT_MODEL, "the backbone of systems that name none")
    settings: tuple[str, ...] = option((), "overrides of all that are fine-tuned, such as run.accelerator=cpu")
    output: str = option("systems", "folder of results, runs and pages")

    @property
    def place(self) -> Path:
        """Where the corpus is."""
        return Path(self.data) / self.root


def is_systems(path: Path) -> bool:
    """Whether a benchmark's YAML file is one of systems."""
    return "systems" in read_yaml(path)


def load_systems(path: Path, overrides: Sequence[str] = ()) -> SystemsPlan:
    """Read a plan from YAML, then apply overrides of its top level such as `data=/speech`.

    Raises:
        ConfigError: with all faults at once.
    """
    faults: list[str] = []
    values = read_yaml(path)
    for item in overrides:
        values |= read_override(item, faults)
    entries = values.get("systems")
    if not isinstance(entries, list) or not entries:
        faults.append(f"systems is {entries!r}, expected a list of mappings with a title each")
        entries = []
    systems = [_system(entry, f"systems[{number}]", faults) for number, entry in enumerate(entries)]
    values["systems"] = tuple(system for system in systems if system is not None)
    _check(values, SystemsPlan, "", faults)
    names = [system.name for system in values["systems"]]
    if twice := sorted({system.title for system in values["systems"] if names.count(system.name) > 1}):
        faults.append(f"titles {', '.join(twice)} give the same file, expected others")
    if not faults:
        plan = SystemsPlan(**values)
        if bool(plan.dataset) == bool(plan.table):
            faults.append("expected a dataset or a table, one of them")
        if fault := scheme_fault(plan.folds):
            faults.append(f"folds {fault}")
    if faults:
        raise ConfigError(f"{path}: " + "; ".join(faults))
    return plan


def _system(entry: Any, where: str, faults: list[str]) -> SystemPlan | None:
    """One entry, or None and faults."""
    if not isinstance(entry, dict) or not entry.get("title"):
        faults.append(f"{where} is {entry!r}, expected a mapping with a title")
        return None
    before = len(faults)
    _check(entry, SystemPlan, f"{where}.", faults)
    if len(faults) > before:
        return None
    found = SystemPlan(**entry)
    if found.verb not in VERBS:
        faults.append(f"{where}.verb is {found.verb!r}, expected {' or '.join(VERBS)}")
    elif found.verb == "probe" and found.head not in HEADS:
        faults.append(f"{where}.head is {found.head!r}, expected one of {', '.join(HEADS)}")
    return found


def _check(values: dict[str, Any], cls: Any, where: str, faults: list[str]) -> None:
    """Keys and types of a mapping; lists of texts become tuples."""
    known = {item.name: item for item in fields(cls)}
    faults += [unknown("key", where + key, [where + name for name in known]) for key in values if key not in known]
    for key in ("title", "verb", "head", "config", "model", "data", "dataset", "root", "table", "folds", "output"):
        if not isinstance(values.get(key, ""), str):
            faults.append(f"{where}{key} is {values[key]!r}, expected a text")
    if "settings" in values:
        items = values["settings"]
        if not isinstance(items, list) or not all(isinstance(item, str) and "=" in item for item in items):
            faults.append(f"{where}settings is {items!r}, expected a list of key=value")
        values["settings"] = tuple(items) if isinstance(items, list) else ()
    published = values.get("published", {})
    if not isinstance(published, dict) or not all(isinstance(x, str) for pair in published.items() for x in pair):
        faults.append(f"{where}published is {published!r}, expected texts by datasets")
