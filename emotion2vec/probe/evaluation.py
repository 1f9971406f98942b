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
from emotion2vec.probe.metrics import confusion_matrix, mean_scores, roc_auc, scores, std_scores
from emotion2vec.probe.parallel import run_parallel
from emotion2vec.probe.progress import track
from emotion2vec.probe.significance import bootstrap_intervals
from emotion2vec.probe.store import FeatureTable
from emotion2vec.probe.tasks import Head, Prediction, Task


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What one fold gave with one seed."""

    fold: Fold
    task: Task
    prediction: Prediction

    @property
    def confusion(self) -> np.ndarray:
        """(K, K), rows are the truth."""
        return confusion_matrix(self.task.labels[self.task.test], self.prediction.classes, self.task.classes)


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
        of all test predictions together, mean over seeds), `intervals` (of the pooled scores, see
        `bootstrap_intervals`), `AUC`, `by_speaker` (scores of each tested speaker), `by_seed` (pooled scores, and what
        was chosen in each fold), `confusion` (summed over seeds; rows are the truth) and `minutes`.

    Raises:
        ConfigError: folds without readable clips to train, validate or test on, or with one class to train; all at
            once.
    """
    started = time.monotonic()
    tasks = _tasks(clipset, table, folds, seeds, standardize)
    data = head.prepare(table, device)
    predictions = run_parallel([partial(head.predict, data, task) for _, task in tasks], device)
    shown = track(predictions, f"head {head.name}", len(tasks), progress)
    outcomes = [
        _Outcome(fold=fold, task=task, prediction=prediction)
        for (fold, task), prediction in zip(tasks, shown, strict=True)
    ]
    settings = {item.name: getattr(head, item.name) for item in dataclasses.fields(head)}  # type: ignore[arg-type]
    if hasattr(data, "precision"):
        settings["precision"] = data.precision
    speakers = np.array([clip.speaker or f"clip {i}" for i, clip in enumerate(clipset.clips)])  # (N,)
    minutes = (time.monotonic() - started) / 60
    return {
        "head": head.name,
        "head_settings": settings,
        **_summary(outcomes, folds, seeds),
        **_by_speaker(outcomes, speakers, known=any(clip.speaker for clip in clipset.clips)),
        "minutes": round(minutes, 3),
    }


def _tasks(
    clipset: ClipSet, table: FeatureTable, folds: Sequence[Fold], seeds: Sequence[int], standardize: bool
) -> list[tuple[Fold, Task]]:
    """Every fold with every seed, its readable clips divided into training, validation and test."""
    number = {label: position for position, label in enumerate(clipset.classes)}
    labels = np.array([number[clip.label] for clip in clipset.clips], np.int64)  # (N,)
    speakers = np.array([clip.speaker or "" for clip in clipset.clips])  # (N,)
    tasks, faults = [], {}
    for seed in seeds:
        for fold in folds:
            train, valid = validation_split(clipset.clips, fold, seed)
            rows = {"train": train, "valid": valid, "test": fold.test}
            rows = {part: positions[table.usable[positions]] for part, positions in rows.items()}
            if empty := [part for part, positions in rows.items() if not positions.size]:
                faults[fold.name] = f"no readable clip to {' or '.join(empty)} on, expected at least one"
            elif len(trained := set(labels[rows["train"]])) < 2:
                faults[fold.name] = f"training has clips of {len(trained)} class, expected at least 2"
            known = not fold.shared_speakers and bool(fold.test_speakers)
            task = Task(
                labels=labels,
                classes=len(number),
                speakers=speakers if known else None,
                standardize=standardize,
                seed=seed,
                **rows,
            )
            tasks.append((fold, task))
    if faults:
        raise ConfigError("; ".join(f"fold {name}: {fault}" for name, fault in faults.items()))
    return tasks


def _summary(outcomes: Sequence[_Outcome], folds: Sequence[Fold], seeds: Sequence[int]) -> dict[str, Any]:
    by_fold: list[dict[str, Any]] = []
    for fold in folds:
        found = [item for item in outcomes if item.fold is fold]
        by_fold.append(
            {
                "name": fold.name,
                "test_speakers": list(fold.test_speakers),
                "clips": len(found[0].task.test),
                **mean_scores([scores(item.confusion) for item in found]),
                "AUC": _mean([roc_auc(item.task.labels[item.task.test], item.prediction.scores) for item in found]),
                "chosen": [item.prediction.details for item in found],
                "confusion": np.sum([item.confusion for item in found], axis=0).tolist(),
            }
        )
    by_seed: list[dict[str, Any]] = [
        {"seed": seed, "pooled": scores(np.sum([o.confusion for o in outcomes if o.task.seed == seed], axis=0))}
        for seed in seeds
    ]
    return {
        "folds": by_fold,
        "mean": mean_scores(by_fold),
        "std": std_scores(by_fold),
        "pooled": mean_scores([row["pooled"] for row in by_seed]),
        "AUC": _mean([row["AUC"] for row in by_fold]),
        "by_seed": by_seed,
        "confusion": np.sum([item.confusion for item in outcomes], axis=0).tolist(),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _by_speaker(outcomes: Sequence[_Outcome], speakers: np.ndarray, known: bool) -> dict[str, Any]:
    """Scores of every tested speaker, and intervals from drawing speakers (clips, where speakers are unknown)."""
    confusions: dict[str, np.ndarray] = {}
    for item in outcomes:
        test, predicted = item.task.test, item.prediction.classes
        for speaker in np.unique(speakers[test]):
            own = speakers[test] == speaker
            counts = confusion_matrix(item.task.labels[test[own]], predicted[own], item.task.classes)
            confusions[speaker] = confusions.get(speaker, 0) + counts
    stacked = np.stack(list(confusions.values()))  # (speakers, K, K)
    rows = [{"speaker": str(name), **scores(confusion)} for name, confusion in sorted(confusions.items())]
    drawn = "speakers" if known else "clips"
    intervals = {name: list(limits) for name, limits in bootstrap_intervals(stacked).items()}
    return {"intervals": intervals, "intervals_over": drawn, "by_speaker": rows if known else []}
