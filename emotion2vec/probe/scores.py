"""The scores of a feature under a head, with the JSON document that they are kept in.

K: classes. Q: dimensions of values.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emotion2vec.notebooks import Shown, Table, listed
from emotion2vec.tasks.metrics import format_score

Scores = Mapping[str, "float | None"]
"""By the names of metrics, in percent or, of values, as they are; None where so few clips have no score."""


FURTHER = ("AUC", "ECE", "PER")
"""First words of the names of scores that only predictions give."""


class Document(Shown, Mapping[str, Any]):
    """A result that can also be read by the names that its JSON document has: `result["mean"]`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


def given(**entries: Any) -> dict[str, Any]:
    """Those that are there."""
    return {name: value for name, value in entries.items() if value is not None}


@dataclass(frozen=True, kw_only=True, repr=False)
class FoldScores(Document):
    """One head on one fold.

    Attributes:
        name: of the fold.
        test_speakers: those it tests.
        clips: how many it tests.
        scores: means over seeds.
        chosen: what training chose or learned, with each seed.
        confusion: (K, K) clips by true and predicted class, summed over seeds; None of values.
    """

    name: str
    test_speakers: tuple[str, ...]
    clips: int
    scores: Scores
    chosen: tuple[Mapping[str, Any], ...]
    confusion: list[list[int]] | None = None

    def _said(self) -> str:
        scores = [f"{name} {'–' if value is None else format(value, '.4g')}" for name, value in self.scores.items()]
        return f"{self.name}, {self.clips} clips: {listed(scores)}"

    def to_dict(self) -> dict[str, Any]:
        """See `Document`; every score stands under its own name."""
        return {
            "name": self.name,
            "test_speakers": list(self.test_speakers),
            "clips": self.clips,
            **self.scores,
            "chosen": list(self.chosen),
            **given(confusion=self.confusion),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FoldScores:
        """Read what `to_dict` gave."""
        rest = {"name", "test_speakers", "clips", "chosen", "confusion"}
        return cls(
            name=document["name"],
            test_speakers=tuple(document["test_speakers"]),
            clips=document["clips"],
            scores={name: value for name, value in document.items() if name not in rest},
            chosen=tuple(document["chosen"]),
            confusion=document.get("confusion"),
        )


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What the scores of a speaker's test clips in a fold are computed from, with one seed.

    Attributes:
        fold: its name.
        seed: of training.
        speaker: None where speakers are unknown; these are then those of all test clips of the fold.
        values: (K, K) or (Q, 7), see `Goal.statistics`.
    """

    fold: str
    seed: int
    speaker: str | None
    values: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Scores with so many clips of each class.

    Attributes:
        count: of each class; None for all.
        scores: pooled over folds, means over seeds.
        std: standard deviation of the main metric over seeds.
        interval: of the main metric, over speakers and all seeds.
        seeds: how many draws of clips there were.
    """

    count: int | None
    scores: Mapping[str, float]
    std: float
    interval: tuple[float, float]
    seeds: int

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Shot:
        """Read what `to_dict` gave."""
        return cls(**{**document, "interval": tuple(document["interval"])})

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True, kw_only=True, repr=False)
class HeadScores(Document):
    """One feature under one head, on all folds.

    Attributes:
        feature: its name.
        head: its name.
        head_settings: all its settings.
        task: `classification` or `regression`.
        metrics: those that tables show.
        main: the one that ranks.
        unit: of scores, `%` or none.
        folds: one by one.
        mean, std: mean and standard deviation over folds.
        pooled: scores of all test predictions together, mean over seeds.
        further: means over folds of scores that only predictions give: the area under the ROC curve (of a class: `AUC
            anger`), the expected calibration error, and what is left of it with a temperature found on validation; and,
            where phonemes are recognized, all wrong ones of all folds per phoneme, `PER`.
        by_seed: pooled scores with each seed.
        confusion: (K, K) of all folds, summed over seeds; rows are the truth; None of values.
        by_class: precision, recall, F1 and clips of each class, from that matrix; None of values.
        intervals: lowest and highest of the pooled scores, see `bootstrap_intervals`.
        intervals_over: what was drawn for them, `speakers` or `clips`.
        by_speaker: scores of each tested speaker, and clips over all seeds; none where speakers are unknown.
        by_group: scores and numbers of clips, over all seeds, of clips by gender, language, corpus and duration, as far
            as they are known and differ.
        statistics: what scores are computed from, for comparing features.
        roc: ROC curve of each class, shares of the others and of its own; None of values.
        points: true and predicted value of some test clips, per dimension; None of classes.
        reliability: of bins of confidence, mean confidence and share that is right in percent, and clips: `as trained`
            and, with a temperature found on validation, `calibrated`; None of values.
        hardest: clips that were missed by most, the worst first: of classes with the highest probability.
        robustness: pooled scores of the clips as they are and under every condition that was asked for.
        shots: scores with few labelled clips of each class, where they were asked for.
        minutes: that training took.
        transductive: shares of the tested clips whose audio the feature's models heard and whose labels chose them;
            None where that is not known.
    """

    feature: str
    head: str
    head_settings: Mapping[str, Any]
    task: str
    metrics: tuple[str, ...]
    main: str
    unit: str
    folds: tuple[FoldScores, ...]
    mean: Mapping[str, float]
    std: Mapping[str, float]
    pooled: Mapping[str, float]
    further: Scores
    by_seed: tuple[tuple[int, Scores], ...]
    confusion: list[list[int]] | None
    intervals: Mapping[str, tuple[float, float]]
    intervals_over: str
    by_speaker: Mapping[str, Scores]
    by_class: Mapping[str, Scores] | None
    by_group: Mapping[str, Mapping[str, Scores]]
    statistics: tuple[Statistics, ...]
    points: Mapping[str, list[list[float]]] | None
    roc: Mapping[str, list[list[float]]] | None
    reliability: Mapping[str, list[dict[str, float]]] | None
    hardest: list[dict[str, Any]]
    robustness: list[dict[str, Any]]
    shots: tuple[Shot, ...] = ()
    minutes: float
    transductive: Mapping[str, float] | None

    @property
    def score(self) -> str:
        """The main score of all clips, with its interval."""
        low, high = (format_score(limit, self.unit) for limit in self.intervals[self.main])
        return f"{format_score(self.pooled[self.main], self.unit, self.main)} ({low} to {high})"

    def _said(self) -> str:
        return f"{self.feature}, {self.head}: {self.score}, {len(self.folds)} folds, {self.clips} clips"

    def _table(self) -> Table:
        rows = [[fold.name, f"{fold.clips}", *self._cells(fold.scores)] for fold in self.folds]
        return ("fold", "clips", *self.metrics), [["all", f"{self.clips}", *self._cells(self.pooled)], *rows]

    def _cells(self, scores: Scores) -> list[str]:
        return [format_score(scores.get(metric), self.unit) for metric in self.metrics]

    @property
    def is_transductive(self) -> bool:
        """Whether the feature's models knew some of the tested clips."""
        return any((self.transductive or {}).values())

    @property
    def clips(self) -> int:
        """Clips that all folds test."""
        return sum(fold.clips for fold in self.folds)

    def to_dict(self) -> dict[str, Any]:
        """See `Document`."""
        return {
            "feature": self.feature,
            "head": self.head,
            "head_settings": dict(self.head_settings),
            "task": self.task,
            "metrics": list(self.metrics),
            "main": self.main,
            "unit": self.unit,
            "folds": [fold.to_dict() for fold in self.folds],
            "mean": dict(self.mean),
            "std": dict(self.std),
            "pooled": dict(self.pooled),
            **self.further,
            "by_seed": [{"seed": seed, "pooled": scores} for seed, scores in self.by_seed],
            **given(confusion=self.confusion),
            "intervals": {name: list(limits) for name, limits in self.intervals.items()},
            "intervals_over": self.intervals_over,
            "by_speaker": [{"speaker": name, **scores} for name, scores in self.by_speaker.items()],
            "statistics": [asdict(part) for part in self.statistics],
            **given(points=self.points, roc=self.roc, by_class=self.by_class, reliability=self.reliability),
            "hardest": self.hardest,
            **given(robustness=self.robustness or None, shots=[shot.to_dict() for shot in self.shots] or None),
            "by_group": {by: dict(groups) for by, groups in self.by_group.items()},
            "minutes": self.minutes,
            "transductive": self.transductive,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> HeadScores:
        """Read what `to_dict` gave, among other entries."""
        same = ("feature", "head", "head_settings", "task", "main", "unit", "mean", "std", "pooled", "intervals_over")
        by_speaker = [dict(row) for row in document["by_speaker"]]
        return cls(
            **{name: document[name] for name in (*same, "minutes", "transductive")},
            metrics=tuple(document["metrics"]),
            folds=tuple(FoldScores.from_dict(fold) for fold in document["folds"]),
            further={name: document[name] for name in document if name.split()[0] in FURTHER},
            by_seed=tuple((row["seed"], row["pooled"]) for row in document["by_seed"]),
            confusion=document.get("confusion"),
            intervals={name: (low, high) for name, (low, high) in document["intervals"].items()},
            by_speaker={row.pop("speaker"): row for row in by_speaker},
            statistics=tuple(Statistics(**row) for row in document["statistics"]),
            points=document.get("points"),
            roc=document.get("roc"),
            reliability=document.get("reliability"),
            hardest=document.get("hardest", []),
            robustness=document.get("robustness", []),
            shots=tuple(Shot.from_dict(row) for row in document.get("shots", [])),
            by_class=document.get("by_class"),
            by_group=document.get("by_group", {}),
        )
