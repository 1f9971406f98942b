"""What a job asks of a network, which decides what computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emotion2vec.extraction.encode.choices import FeatureChoice


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a job asks of a network, as far as it is known before anything is decoded.

    Attributes:
        last_block: the output of the last block is all that is needed.
        seconds: audio of the clips whose length is known, in s.
        unknown: clips whose length is not.
    """

    last_block: bool
    seconds: float = 0.0
    unknown: int = 0

    @classmethod
    def of(cls, choice: FeatureChoice, durations: Sequence[float | None]) -> Workload:
        """What features of clips of so many s ask; None for a length that is not known."""
        lengths = [seconds for seconds in durations if seconds is not None]
        return cls(last_block=choice.last_block, seconds=sum(lengths), unknown=len(durations) - len(lengths))
