"""Sentiment from −3 to 3, scored as work on CMU-MOSI and CMU-MOSEI does: regression read as two or seven classes too.

N: clips. n: clips that are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.tasks.metrics import concordance_scores, confusion_matrix, scores
from emotion2vec.tasks.values import Values

NAME = "sentiment"
MOST = 3
SCORES = ("Acc-2 with 0", "F1 with 0", "Acc-2 without 0", "F1 without 0", "Acc-7")
"""Shares of 1: the class and its weighted F1, negative against all others or, of clips whose label is not 0, against
positive; and the nearest whole number from −3 to 3."""


class Sentiment(Values):
    """Sentiment alone: the scores of values, and `SCORES` beside them."""

    def __init__(self, clipset: Corpus):
        super().__init__(clipset, [NAME])
        self.shown = (*self.shown, *SCORES)

    def statistics(self, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """(1, 16): `moments`, the confusion matrices (2, 2) with and without zeros, and the right ones of seven."""
        truth, found = self.labels[rows, 0], np.asarray(predicted, np.float64)[:, 0]  # (n,) each
        other = truth != 0
        counts = [
            *confusion_matrix((truth >= 0).astype(int), (found >= 0).astype(int), 2).ravel(),
            *confusion_matrix((truth > 0).astype(int)[other], (found > 0).astype(int)[other], 2).ravel(),
            (whole(truth) == whole(found)).sum(),
        ]
        sums = super().statistics(rows, predicted)[0]
        return np.concatenate([sums, counts])[None]  # (1, 16)

    def score(self, statistics: np.ndarray) -> dict[str, Any]:
        """See `Values`, and `SCORES`; those without zeros are None where all labels are 0."""
        sums, (binary, signed, right) = statistics[0][:7], np.split(statistics[0][7:], [4, 8])
        found: dict[str, float | None] = {**concordance_scores(sums)}
        for confusion, kind in ((binary, "with 0"), (signed, "without 0")):
            of = scores(confusion.reshape(2, 2)) if confusion.sum() else {"WA": None, "WF1": None}
            for name, metric in (("Acc-2", "WA"), ("F1", "WF1")):
                share = of[metric]
                found[f"{name} {kind}"] = None if share is None else share / 100
        found["Acc-7"] = float(right[0] / sums[0])
        return found


def whole(values: np.ndarray) -> np.ndarray:
    """The nearest whole numbers from −3 to 3, halves to the even one, as NumPy rounds."""
    return np.clip(np.rint(values), -MOST, MOST)


def is_sentiment(clipset: Corpus, targets: Sequence[str]) -> bool:
    """Whether sentiment alone is predicted, on the scale from −3 to 3: nothing beyond, and something below 0."""
    if list(targets) != [NAME]:
        return False
    values = [clip.values[NAME] for clip in clipset.utterances if NAME in clip.values]
    return bool(values) and -MOST <= min(values) < 0 and max(values) <= MOST
