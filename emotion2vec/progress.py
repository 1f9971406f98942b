"""How far a long job is, as callbacks of Python programs get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a job stands.

    Attributes:
        done: utterances, or updates of a training, that are finished, failed ones included.
        total: how many there are to do.
        failed: utterances that failed; of a training those that it skipped.
        seconds: audio that went through the job so far, in s.
        elapsed: time since the job began with the first of them, in s.
        metrics: the last numbers that a training logged, such as `loss`.
    """

    done: int
    total: int
    failed: int
    seconds: float
    elapsed: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Seconds of audio for each second that passes: times real time."""
        return self.seconds / self.elapsed if self.elapsed > 0 else 0.0


ProgressCallback = Callable[[Progress], object]
"""What it returns is not looked at; what it raises ends the job, and what was written by then is kept."""
