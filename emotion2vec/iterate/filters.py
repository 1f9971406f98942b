"""Which labels of the pool are learnt from: each filter is a rule for single clips, but for the last two.

Quantiles and caps go by calibrated confidence within a class. What decides is in the clip's own row, and equal
confidences are told apart by ids, so that the same opinions always keep the same clips.

N: clips. K: classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotion2vec.iterate.config import FilterSettings

KEPT = ""
UNREADABLE, SECOND, TEXT = "cannot be read", "second model differs", "transcript differs"
WINDOWS, QUANTILE, CAP, BALANCE = "windows differ", "low confidence", "over the cap", "over the balance"
"""Why clips are refused."""

NO_TEXT, NO_CLASS = -1, -2
"""In place of a class's number: the clip has no transcript; what was found is none of the classes."""


@dataclass(frozen=True)
class Opinions:
    """What is thought of the clips of a pool.

    Attributes:
        ids: of N clips.
        seconds: (N,) lengths; 0 of those that could not be heard.
        scores: (N, K) probabilities by the labeller; 0 of those.
        heard: (N,) whether they could be.
        agreeing: (N,) share of a clip's windows with the clip's label; None where windows are not asked for.
        second: (N,) number of the class that a second model finds, or `NO_CLASS` where it could not hear the clip.
        text: (N,) number of the class that a text model finds, `NO_TEXT` or `NO_CLASS`.
    """

    ids: Sequence[str]
    seconds: np.ndarray
    scores: np.ndarray
    heard: np.ndarray
    agreeing: np.ndarray | None = None
    second: np.ndarray | None = None
    text: np.ndarray | None = None

    @property
    def numbers(self) -> np.ndarray:
        """(N,) number of each clip's class."""
        numbers: np.ndarray = self.scores.argmax(axis=1)
        return numbers

    @property
    def confidence(self) -> np.ndarray:
        """(N,) probability of it, to four digits, so that how clips were batched decides nothing."""
        highest: np.ndarray = self.scores.max(axis=1, initial=0.0)
        return highest.round(4)


def refused(opinions: Opinions, settings: FilterSettings, left_out: Sequence[str]) -> np.ndarray:
    """Why each clip is refused, (N,) of texts; `KEPT` where it is not.

    Args:
        opinions: of the pool.
        settings: the filters.
        left_out: why a clip was refused before, of each; empty for no reason.
    """
    numbers = opinions.numbers
    reasons = np.array(left_out, dtype=object)

    def refuse(which: np.ndarray, reason: str) -> None:
        reasons[which & (reasons == KEPT)] = reason

    refuse(~opinions.heard, UNREADABLE)
    counted = reasons == KEPT  # whose confidences a class's quantile is of, whatever the filters beside it
    if opinions.second is not None:
        refuse(opinions.second != numbers, SECOND)
    if opinions.text is not None:
        refuse((opinions.text != NO_TEXT) & (opinions.text != numbers), TEXT)
    if opinions.agreeing is not None:
        refuse(opinions.agreeing < settings.agreeing - 1e-9, WINDOWS)
    refuse(_least(opinions, counted, settings.quantile), QUANTILE)
    if settings.cap:
        refuse(_beyond(opinions, reasons == KEPT, settings.cap), CAP)
    kept = np.bincount(numbers[reasons == KEPT])
    if settings.balance and kept.any():
        refuse(_beyond(opinions, reasons == KEPT, int(settings.balance * kept[kept > 0].min())), BALANCE)
    return reasons


def _least(opinions: Opinions, counted: np.ndarray, share: float) -> np.ndarray:
    """Which of the counted clips are that share of their class with the least confidence, (N,); of equals by name.

    Rounded down, so that a class of few clips keeps its best one.
    """
    numbers, least = opinions.numbers, np.zeros(len(counted), bool)
    order = np.lexsort((np.array(opinions.ids, dtype=str), opinions.confidence))
    for number in np.unique(numbers[counted]):
        own = order[counted[order] & (numbers[order] == number)]
        least[own[: math.floor(share * len(own) + 1e-9)]] = True
    return least


def _beyond(opinions: Opinions, kept: np.ndarray, most: int) -> np.ndarray:
    """Which of the kept clips come after so many others of their class, the most confident first, (N,)."""
    numbers, beyond = opinions.numbers, np.zeros(len(kept), bool)
    order = np.lexsort((np.array(opinions.ids, dtype=str), -opinions.confidence))
    for number in np.unique(numbers[kept]):
        own = [place for place in order.tolist() if kept[place] and numbers[place] == number]
        beyond[own[most:]] = True
    return beyond
