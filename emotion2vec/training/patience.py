"""Early stopping: a run ends when validation has not got better for long enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from emotion2vec.training.metrics import short


@dataclass
class Patience:
    """Counts the validations since the best one; what all processes count alike.

    Scores are compared as `metrics.jsonl` has them, so that a run that goes on counts on from there.

    Attributes:
        limit: validations without a better one after which the run ends; 0 for none.
        best: the best score, higher is better; None before the first.
        waited: validations since.
    """

    limit: int
    best: float | None = None
    waited: int = 0

    @classmethod
    def after(cls, limit: int, scores: Iterable[float]) -> Patience:
        """That of a run that goes on after validations with these scores."""
        patience = cls(limit)
        for score in scores:
            patience._count(score)
        return patience

    @property
    def is_over(self) -> bool:
        """Whether the run is to end."""
        return 0 < self.limit <= self.waited

    def __str__(self) -> str:
        """Where it stands, in words."""
        count = f"{self.waited} validation{'s' * (self.waited > 1)}"
        return f"{count} without a better score than {self.best} (validation.patience={self.limit})"

    def note(self, metrics: Mapping[str, float]) -> None:
        """Take in the numbers of a validation, see `HeldOut.losses`; of none where there are none."""
        if metrics:
            self._count(validation_score(metrics))

    def _count(self, score: float) -> None:
        if score == score and (self.best is None or score > self.best):  # a score that is no number is not better
            self.best, self.waited = score, 0
        else:
            self.waited += 1


def validation_score(metrics: Mapping[str, float | None]) -> float:
    """What checkpoints are chosen by, higher is better: the score, or the loss where there is none."""
    score, loss = metrics.get("validation_score"), metrics.get("validation_loss")
    found = score if "validation_score" in metrics else None if loss is None else -loss
    return float("nan") if found is None else short(found)
