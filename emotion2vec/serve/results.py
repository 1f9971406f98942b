"""What models say of the clips of a request, as JSON.

W: windows. K: labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.results.rows import Row, RowMaker
from emotion2vec.extraction.scoring import LEAST_PROBABILITY, Opinion
from emotion2vec.guesses import unknown
from emotion2vec.serve.child import Answer
from emotion2vec.serve.errors import UNPROCESSABLE, RequestError
from emotion2vec.tasks.adaptation import LEAST_CLIPS, adapted, alike


class Heard(Protocol):
    """A clip that was heard: its name, its length in s, and what is to be said of it."""

    @property
    def name(self) -> str:
        """As whoever sent it called it."""

    @property
    def seconds(self) -> float:
        """Its length in s."""

    @property
    def notes(self) -> Sequence[str]:
        """What is to be said of it."""


@dataclass(frozen=True)
class Question:
    """What is asked of clips.

    Attributes:
        window: length of windows in s; None for whole clips.
        classes: to tell apart; none for all.
        abstain: no label is given below this probability.
        adapt: whether scores are adapted to the clips.
    """

    window: float | None = None
    classes: Sequence[str] = ()
    abstain: float | None = None
    adapt: bool = False

    def check(self, model: Mapping[str, Any], longest: float) -> None:
        """Check it for a model, and audio of so many s at most.

        Raises:
            RequestError: the model cannot answer it.
        """
        heads = model["heads"]
        if "" not in heads:
            raise RequestError(UNPROCESSABLE, f"{model['name']} has no head, expected a model that knows labels")
        if self.window is not None and not 0.02 <= self.window <= longest:
            raise RequestError(UNPROCESSABLE, f"window is {self.window:g}, expected 0.02 to {longest:g} s")
        if self.abstain is not None and not 0 < self.abstain < 1:
            raise RequestError(UNPROCESSABLE, f"abstain is {self.abstain}, expected a probability above 0 and below 1")
        if heads[""]["values"] and (self.classes or self.abstain is not None or self.adapt):
            raise RequestError(UNPROCESSABLE, f"{model['name']} predicts values, which have no classes to choose from")
        labels = heads[""]["labels"]
        if wrong := [unknown("class", name, labels) for name in self.classes if name not in labels]:
            raise RequestError(UNPROCESSABLE, "; ".join(wrong))
        if len(set(self.classes)) == 1:
            raise RequestError(UNPROCESSABLE, f"classes is {self.classes[0]}, expected at least 2 to tell apart")


def told(
    model: Mapping[str, Any], question: Question, heard: Sequence[tuple[Heard, Answer]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Results of clips, and what is to be said of them; see `rows_of`."""
    _, rows, warnings = rows_of(model, question, heard)
    return objects_of(question, heard, rows), warnings


def objects_of(
    question: Question, heard: Sequence[tuple[Heard, Answer]], clips: Sequence[Sequence[Row]]
) -> list[dict[str, Any]]:
    """Results of clips as JSON has them, of rows that `rows_of` has made."""
    found = []
    for (clip, _), rows in zip(heard, clips, strict=True):
        shown = [_row(row) for row in rows]
        one = {"name": clip.name, "seconds": round(clip.seconds, 3)}
        one |= {"windows": shown} if question.window is not None else shown[0]
        found.append(one | ({"notes": list(clip.notes)} if clip.notes else {}))
    return found


def rows_of(
    model: Mapping[str, Any], question: Question, heard: Sequence[tuple[Heard, Answer]]
) -> tuple[RowMaker, list[list[Row]], list[str]]:
    """Rows of results of each clip, what made them, and what is to be said of them.

    Args:
        model: what is known of it.
        question: what was asked.
        heard: clips, and what the model said of each: probabilities (W, K) by head.

    Raises:
        RequestError: they cannot be adapted.
    """
    heads = model["heads"]
    labels = {name: list(head["labels"]) for name, head in heads.items()}
    labels[""] = list(dict.fromkeys(question.classes)) or labels[""]
    maker = RowMaker(labels, question.abstain, [name for name, head in heads.items() if head["values"]])
    said = [_restricted(arrays, heads[""]["labels"], labels[""]) for _, (_, arrays) in heard]
    warnings: list[str] = []
    if question.adapt:
        said, warnings = _adapted(said, labels[""])
    found = []
    for (clip, (facts, _)), scores in zip(heard, said, strict=True):
        rest = {name: array for name, array in scores.items() if name}
        opinion = Opinion(clip.seconds, facts["window"], scores[""], rest)
        found.append(maker.rows_of(Utterance(id=clip.name, audio=clip.name), opinion))
    return maker, found, warnings


def _restricted(arrays: Mapping[str, np.ndarray], known: list[str], chosen: list[str]) -> dict[str, np.ndarray]:
    """Scores by head, of which those of the main one (W, K) are among the chosen labels."""
    if chosen == known:
        return dict(arrays)
    rows = np.maximum(arrays[""][:, [known.index(name) for name in chosen]], LEAST_PROBABILITY)
    return {**arrays, "": rows / rows.sum(axis=1, keepdims=True)}


def _adapted(said: list[dict[str, np.ndarray]], labels: list[str]) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The same, the main head's scores (W, K) adapted to all rows together; and what is to be said of that."""
    rows = np.concatenate([scores[""] for scores in said])
    if len(rows) < LEAST_CLIPS:
        raise RequestError(
            UNPROCESSABLE, f"adapt needs at least {LEAST_CLIPS} clips, of mixed emotions, and there are {len(rows)}"
        )
    warnings = []
    if (found := alike(rows)) is not None:
        warnings.append(
            f"{found[1]:.0%} of the clips are {labels[found[0]]} before they are adapted, which expects mixed emotions"
        )
    ends = np.cumsum([len(scores[""]) for scores in said])[:-1]
    parts = np.split(adapted(np.log(rows)), ends)
    return [{**scores, "": part} for scores, part in zip(said, parts, strict=True)], warnings


def _row(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"start": row.start, "end": row.end}
    if row.confidence is not None:
        found |= {"label": row.label, "confidence": row.confidence}
    found["scores"] = dict(row.scores)
    if row.further:
        found["further"] = {
            name: ({} if label is None else {"label": label}) | {"scores": dict(scores)}
            for name, (label, scores) in row.further.items()
        }
    return found
