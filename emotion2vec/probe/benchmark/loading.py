"""Benchmarks from YAML: read, checked, and which heads read which features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from emotion2vec.corpora.folds import scheme_fault
from emotion2vec.errors import ConfigError
from emotion2vec.guesses import unknown
from emotion2vec.probe.benchmark.plan import BenchmarkPlan, CorpusPlan, FeaturePlan, PartPlan
from emotion2vec.probe.checks import frame_faults, head_faults
from emotion2vec.probe.features.layers import check_layer, check_pooling
from emotion2vec.probe.heads import HEADS
from emotion2vec.settings import read_override, read_yaml


def heads_of(corpus: CorpusPlan, feature: FeaturePlan, usual: Sequence[str]) -> tuple[str, ...]:
    """Names of the heads that read a feature of a corpus.

    They are those of the feature that can learn what is predicted there; where it has none, those of the corpus, and
    where that has none, the `usual` ones of the plan.
    """
    own = tuple(head for head in feature.heads if corpus.kind in HEADS[head].kinds)
    return own or corpus.heads or tuple(usual)


def load_plan(path: str | Path, overrides: Sequence[str] = ()) -> BenchmarkPlan:
    """Read a benchmark's YAML file.

    Args:
        path: the file.
        overrides: `key=value` for its top level, such as `data=/speech output=results`; lists as in YAML.

    Raises:
        ConfigError: the file cannot be read, or with all faults at once: unknown keys, wrong types, names of heads,
            folds, layers or poolings that do not exist, heads that cannot learn what is predicted of a corpus or read
            what a feature has, missing corpora or features, or several of one title.
    """
    faults: list[str] = []
    values = read_yaml(Path(path))
    for item in overrides:
        values |= read_override(item, faults)
    values["corpora"] = _entries(values.get("corpora"), CorpusPlan, "corpora", faults)
    values["corpora"] = tuple(_located(corpus, Path(path).parent) for corpus in values["corpora"])
    values["features"] = _entries(values.get("features"), FeaturePlan, "features", faults, short="name")
    for key, kind in (("heads", str), ("seeds", int)):
        if key in values:
            values[key] = _sequence(values[key], kind, key, faults)
    _check_keys(values, BenchmarkPlan, "", faults)
    for corpus in values["corpora"]:
        if fault := scheme_fault(corpus.folds):
            faults.append(f"folds of {corpus.name} {fault}")
    for several, names in (
        ("corpora", [corpus.name for corpus in values["corpora"]]),
        ("features", [feature.label for feature in values["features"]]),
    ):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"{', '.join(twice)} is the title of several {several}, expected another `title` for each")
    parts = [*values["features"], *values["corpora"]]
    named = [*values.get("heads", ()), *(head for part in parts for head in part.heads)]
    if unknown := sorted(set(named) - HEADS.keys()):
        faults.append(f"head is {', '.join(unknown)}, expected one of {', '.join(HEADS)}")
    else:
        faults += _fit_faults(values["corpora"], values["features"], values.get("heads", BenchmarkPlan.heads))
    if faults:
        raise ConfigError(f"{path}: " + "; ".join(faults))
    return BenchmarkPlan(**values)


def _located(corpus: CorpusPlan, folder: Path) -> CorpusPlan:
    """A corpus whose tables, relative to the plan's file, are found from anywhere."""
    table = corpus.table and os.path.abspath(folder / corpus.table)
    parts = [replace(part, table=part.table and os.path.abspath(folder / part.table)) for part in corpus.parts]
    return replace(corpus, table=table, parts=tuple(parts))


def _fit_faults(corpora: Sequence[CorpusPlan], features: Sequence[FeaturePlan], usual: Sequence[str]) -> list[str]:
    """What does not fit together: heads and what they have to learn, heads and the layers that they read."""
    where: dict[str, list[str]] = {}
    for corpus in corpora:
        read = dict.fromkeys([*corpus.heads, *(head for item in features for head in heads_of(corpus, item, usual))])
        for fault in head_faults([HEADS[head] for head in read], corpus.kind):
            where.setdefault(fault, []).append(corpus.name)
    for item in features:
        heads = dict.fromkeys([*item.heads, *(head for corpus in corpora for head in heads_of(corpus, item, usual))])
        for fault in frame_faults([HEADS[head] for head in heads], item.layer):
            where.setdefault(fault, []).append(item.label)
        for head in item.heads:
            if not any(corpus.kind in HEADS[head].kinds for corpus in corpora):
                where.setdefault(f"head {head} is for none of the corpora", []).append(item.label)
    return [f"{', '.join(dict.fromkeys(names))}: {fault}" for fault, names in where.items()]


def _check_keys(values: Mapping[str, Any], cls: type, where: str, faults: list[str]) -> None:
    known = [where + item.name for item in fields(cls)]
    faults += [unknown("key", where + key, known) for key in values if where + key not in known]


def _entries(found: Any, cls: Any, where: str, faults: list[str], short: str | None = None) -> tuple[Any, ...]:
    """A list of mappings, or of names where `short` says which key a bare name stands for."""
    items = found if isinstance(found, list) else [found] if isinstance(found, str | dict) else []
    if not items:
        faults.append(f"{where} is {found!r}, expected a list with at least one entry")
    entries = []
    for number, item in enumerate(items):
        entry = {short: item} if isinstance(item, str) and short else item
        if not isinstance(entry, dict) or (short and not entry.get(short)):
            faults.append(f"{where}[{number}] is {item!r}, expected {short or 'a mapping'}")
            continue
        before, place = len(faults), f"{where}[{number}]."
        _check_keys(entry, cls, place, faults)
        for key in {"heads", "classes", "targets"} & entry.keys():
            entry[key] = _sequence(entry[key], str, place + key, faults)
        if cls is CorpusPlan and "parts" in entry:
            entry["parts"] = _entries(entry["parts"], PartPlan, place + "parts", faults)
        _check_values(entry, place, faults)
        if len(faults) == before:
            entries.append(cls(**{key: str(value) if key == "layer" else value for key, value in entry.items()}))
    return tuple(entries)


def _check_values(entry: Mapping[str, Any], where: str, faults: list[str]) -> None:
    """Types of the keys that are neither names nor lists."""
    if not isinstance(entry.get("context", 0), int):
        faults.append(f"{where}context is {entry['context']!r}, expected a number of turns")
    labels = entry.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(to, str) for to in labels.values()):
        faults.append(f"{where}labels is {labels!r}, expected names by names, an empty one to leave a label out")
    columns = entry.get("columns", {})
    if not isinstance(columns, dict) or not all(isinstance(name, str) for pair in columns.items() for name in pair):
        faults.append(f"{where}columns is {columns!r}, expected the table's names by ours, such as {{file: Datei}}")
    if entry.get("split") not in (None, "train", "valid", "test"):
        faults.append(f"{where}split is {entry['split']!r}, expected train, valid or test")
    try:
        check_layer(str(entry.get("layer", "last")))
    except ConfigError as error:
        faults.append(where + str(error))
    try:
        check_pooling(entry.get("pooling"))
    except ConfigError as error:
        faults.append(where + str(error))


def _sequence(found: Any, kind: type, where: str, faults: list[str]) -> tuple[Any, ...]:
    items = found if isinstance(found, list) else [found]
    if not items or not all(isinstance(item, kind) for item in items):
        faults.append(f"{where} is {found!r}, expected a list of {kind.__name__}")
    return tuple(items)
