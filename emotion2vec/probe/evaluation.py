"""One feature under one head: train on every fold, score the tests, average over folds and seeds.

N: clips. K: classes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from emotion2vec.errors import ConfigError
from emotion2vec.probe.corpora import ClipSet
from emotion2vec.probe.folds import Fold, validation_split
from emotion2vec.probe.heads import Head, Task
from emotion2vec.probe.metrics import confusion_matrix, mean_scores, scores, std_scores
from emotion2vec.probe.parallel import run_parallel
from emotion2vec.probe.progress import track
from emotion2vec.probe.store import FeatureTable


@dataclass(frozen=True, kw_only=True)
class _FoldScore:
    """What one fold gave with one seed."""

    fold: Fold
    seed: int
    tested: int
    confusion: np.ndarray  # (K, K)


def evaluate(
    clipset: ClipSet,
    table: FeatureTable,
    folds: Sequence[Fold],
    head: Head,
    *,
    seeds: Sequence[int] = (0,),
    standardize: bool = True,
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, Any]:
    """Train and test a head on every fold with every seed.

    Args:
        clipset: the clips that `folds` and `table` refer to by position.
        table: their features; clips that could not be read are neither trained nor tested on.
        folds: the splits.
        head: what to train.
        seeds: see `probe`.
        standardize: see `probe`.
        device: where neural heads run.
        progress: show a progress bar.

    Returns:
        `head` and its settings, `folds` with scores (means over seeds), `mean` and `std` over folds, `pooled` (scores
        of all test predictions together, mean over seeds), `by_seed` (pooled scores of each seed), `confusion` (summed
        over seeds; rows are the truth) and `minutes`.

    Raises:
        ConfigError: a fold has no readable clip to train, validate or test on, or but one class to train.
    """
    number = {label: position for position, label in enumerate(clipset.classes)}
    labels = np.array([number[clip.label] for clip in clipset.clips], np.int64)  # (N,)
    speakers = np.array([clip.speaker or "" for clip in clipset.clips])  # (N,)
    started = time.monotonic()
    tasks = [
        (fold, seed, _task(clipset, table, fold, seed, labels, speakers, standardize))
        for seed in seeds
        for fold in folds
    ]
    data = head.prepare(table, device)
    predictions = run_parallel([partial(head.predict, data, task) for _, _, task in tasks], device)
    shown = track(predictions, f"head {head.name}", len(tasks), progress)
    found = []
    for (fold, seed, task), predicted in zip(tasks, shown, strict=True):
        confusion = confusion_matrix(labels[task.test], predicted, len(number))  # (K, K)
        found.append(_FoldScore(fold=fold, seed=seed, tested=len(task.test), confusion=confusion))
    settings = {item.name: getattr(head, item.name) for item in dataclasses.fields(head)}  # type: ignore[arg-type]
    minutes = (time.monotonic() - started) / 60
    return {"head": head.name, "head_settings": settings, **_summary(found, folds, seeds), "minutes": round(minutes, 3)}


def _task(
    clipset: ClipSet,
    table: FeatureTable,
    fold: Fold,
    seed: int,
    labels: np.ndarray,
    speakers: np.ndarray,
    standardize: bool,
) -> Task:
    """The readable clips of a fold, divided into training, validation and test.

    Raises:
        ConfigError: a part is empty, or training has but one class.
    """
    train, valid = validation_split(clipset.clips, fold, seed)
    rows = {"train": train, "valid": valid, "test": fold.test}
    rows = {part: positions[table.usable[positions]] for part, positions in rows.items()}
    if empty := [part for part, positions in rows.items() if not positions.size]:
        raise ConfigError(f"fold {fold.name}: no readable clip to {' or '.join(empty)} on, expected at least one")
    if len(trained := set(labels[rows["train"]])) < 2:
        raise ConfigError(f"fold {fold.name}: training has clips of {len(trained)} class, expected at least 2")
    return Task(
        labels=labels,
        classes=len(clipset.classes),
        speakers=None if fold.shared_speakers or not fold.test_speakers else speakers,
        standardize=standardize,
        seed=seed,
        **rows,
    )


def _summary(found: Sequence[_FoldScore], folds: Sequence[Fold], seeds: Sequence[int]) -> dict[str, Any]:
    by_fold: list[dict[str, Any]] = [
        {
            "name": fold.name,
            "test_speakers": list(fold.test_speakers),
            "clips": next(item.tested for item in found if item.fold is fold),
            **mean_scores([scores(item.confusion) for item in found if item.fold is fold]),
        }
        for fold in folds
    ]
    by_seed: list[dict[str, Any]] = [
        {"seed": seed, "pooled": scores(np.sum([item.confusion for item in found if item.seed == seed], axis=0))}
        for seed in seeds
    ]
    return {
        "folds": by_fold,
        "mean": mean_scores(by_fold),
        "std": std_scores(by_fold),
        "pooled": mean_scores([row["pooled"] for row in by_seed]),
        "by_seed": by_seed,
        "confusion": np.sum([item.confusion for item in found], axis=0).tolist(),
    }
