"""How far scores can be trusted: bootstrap over speakers, and a paired test between two feature sets.

G: speakers. K: classes. R: resamples. P: speakers of a part, which is one fold under one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.metrics import scores

RESAMPLES = 2000
LEVEL = 95.0
"""Confidence level of intervals, in percent."""
PATTERNS = 10_000
"""Random swaps of a permutation test, where there are too many to count them all."""
MOST_EXACT = 14
"""Up to this many speakers every pattern of swaps is counted."""
CHUNK = 1024
"""Resamples that are worked on at once."""

Part = Hashable
"""A fold under a seed: what one score is computed from."""


def bootstrap_intervals(
    statistics: np.ndarray,
    score: Callable[[np.ndarray], Mapping[str, float | None]] = scores,
    *,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the pooled scores when whole speakers are drawn with replacement.

    Clips of one speaker resemble each other, so resampling clips would promise too much (Efron and Tibshirani, 1993).

    Args:
        statistics: (G, ...), what adds up to what `score` takes, such as a confusion matrix (K, K), per speaker or,
            where speakers are unknown, per clip.
        score: turns a sum of them into scores; draws are passed over that do not have one, None.
        resamples: R.

    Returns:
        Lowest and highest score of the middle 95 % of resamples, per metric.
    """
    groups = len(statistics)
    random = np.random.default_rng(keyed_seed("bootstrap", groups))
    drawn = random.multinomial(groups, np.full(groups, 1 / groups), size=resamples)  # (R, G)
    drawn, place = np.unique(drawn, axis=0, return_inverse=True)  # (r, G), (R,): few speakers are drawn alike often
    found = [score(row) for row in np.einsum("rg,gij->rij", drawn, statistics)]
    drawn_scores = {name: [found[number][name] for number in place.ravel()] for name in found[0]}
    return {name: _middle([value for value in values if value is not None]) for name, values in drawn_scores.items()}


def _middle(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """One feature set against another.

    Attributes:
        difference: of the scores, as they are reported: the mean over folds and seeds of the first less that of the
            second; negative where the first is worse.
        interval: lowest and highest difference of the middle 95 % of bootstrap draws of speakers.
        p: two-sided p value of a paired permutation test of the difference.
        least_p: the least that so few pairs can give, however much the two differ.
    """

    difference: float
    interval: tuple[float, float]
    p: float
    least_p: float


def format_p(found: Comparison | None) -> str:
    """P with as many digits as it deserves; nothing where nothing was compared."""
    if found is None:
        return ""
    return "< 0.001" if found.p < 0.001 else f"{found.p:.3f}" if found.p < 0.1 else f"{found.p:.2f}"


def least_p(count: int) -> float:
    """The least two-sided p value that swaps of so many speakers can give: all swapped is as extreme as observed."""
    return 2 / 2**count if count <= MOST_EXACT else 1 / (PATTERNS + 1)


def compare(
    first: Mapping[tuple[Part, str], np.ndarray],
    second: Mapping[tuple[Part, str], np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
) -> Comparison | None:
    """Compare two feature sets on the same folds, by what their reported scores are computed from.

    The test swaps all predictions of whole speakers between the two and computes both scores anew, part by part (Good,
    2005). That differs from a test of the speakers' own scores, whose plain mean nobody reports: a speaker with three
    clips would weigh as much in it as one with three hundred, and the two can disagree about the sign. Draws of the
    bootstrap weigh a part by how many of its speakers are drawn.

    Args:
        first: what scores are computed from, such as a confusion matrix (K, K), by part and speaker.
        second: the same of the other; parts and speakers that only one of them has are left out.
        score: turns (..., K, K), or what else they are, into scores (...), NaN where there is none.

    Returns:
        The comparison, or None where they share fewer than two speakers, or no part with a score.
    """
    pairs = _Pairs.of(first, second)
    if len(pairs.speakers) < 2:
        return None
    count = len(pairs.speakers)
    observed = pairs.differences(np.ones((1, count)), score, swap=True)[0]
    if np.isnan(observed):
        return None
    limit = abs(observed) - 1e-9 * max(1.0, abs(observed))
    extreme = [np.abs(pairs.differences(kept, score, swap=True)) >= limit for kept in _swaps(count)]
    random = np.random.default_rng(keyed_seed("bootstrap", count))
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)  # (R, G)
    resampled = np.concatenate(
        [pairs.differences(drawn[i : i + CHUNK], score, swap=False) for i in range(0, RESAMPLES, CHUNK)]
    )
    return Comparison(
        difference=float(observed),
        interval=_middle(resampled[np.isfinite(resampled)]),
        p=float(np.concatenate(extreme).mean()),
        least_p=least_p(count),
    )


def _swaps(count: int) -> Iterator[np.ndarray]:
    """Patterns (R, G) in pieces, 1 = as observed and 0 = swapped: all of them, or the observed and random ones."""
    if count <= MOST_EXACT:
        for start in range(0, 1 << count, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, 1 << count))
            yield ((numbers[:, None] >> np.arange(count)) & 1).astype(np.float64)
        return
    random = np.random.default_rng(keyed_seed("permutation", count))
    yield np.ones((1, count))
    for start in range(0, PATTERNS, CHUNK):
        yield random.integers(0, 2, size=(min(CHUNK, PATTERNS - start), count)).astype(np.float64)


@dataclass(frozen=True)
class _Pairs:
    """Two feature sets' statistics, part by part.

    Attributes:
        speakers: those of all parts.
        parts: per part, numbers of its speakers (P,), and the statistics (P, ...) of the first and the second.
    """

    speakers: list[str]
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, first: Mapping[tuple[Part, str], np.ndarray], second: Mapping[tuple[Part, str], np.ndarray]) -> _Pairs:
        """Pair what both have."""
        shared = [key for key in first if key in second]
        speakers = sorted({speaker for _, speaker in shared})
        number = {speaker: place for place, speaker in enumerate(speakers)}
        members: dict[Part, list[str]] = {}
        for part, speaker in shared:
            members.setdefault(part, []).append(speaker)
        parts = []
        for part, names in members.items():
            ours, theirs = (np.stack([found[part, name] for name in names]).astype(float) for found in (first, second))
            parts.append((np.array([number[name] for name in names]), ours, theirs))
        return cls(speakers, parts)

    def differences(self, weights: np.ndarray, score: Callable[[np.ndarray], np.ndarray], *, swap: bool) -> np.ndarray:
        """Mean over parts of the difference of scores, (R,).

        Args:
            weights: (R, G) per resample and speaker: with `swap`, 1 as observed and 0 swapped; else how often drawn.
            score: as in `compare`.
            swap: which of the two `weights` are.
        """
        total, parts = np.zeros(len(weights)), np.zeros(len(weights))
        for numbers, ours, theirs in self.parts:
            if not np.isfinite(score(ours.sum(axis=0)) - score(theirs.sum(axis=0))):
                continue  # drawing a single clip twice gives it no score
            own = weights[:, numbers]  # (R, P)
            if swap:
                moved = np.tensordot(own, ours - theirs, axes=1)  # (R, ...)
                first, second = theirs.sum(axis=0) + moved, ours.sum(axis=0) - moved
                share = np.ones(len(weights))
            else:
                first, second = np.tensordot(own, ours, axes=1), np.tensordot(own, theirs, axes=1)
                share = own.mean(axis=1)
            found = score(first) - score(second)  # (R,)
            known = np.isfinite(found) & (share > 0)
            total += np.where(known, share * found, 0.0)
            parts += np.where(known, share, 0.0)
        with np.errstate(invalid="ignore"):
            return total / parts  # NaN where no part has a score
