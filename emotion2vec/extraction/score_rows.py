"""Rows of scores: JSON lines or CSV, and pictures of scores over time.

W: windows. K: labels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from emotion2vec.cells import guarded
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.disk import FULL
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.scoring import Opinion
from emotion2vec.extraction.writers.base import SafeFolder, safe_name
from emotion2vec.files import complete_file

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("id", "file", "start", "end", "window", "speaker", "given_label", "label")
"""What a row says beside scores: times in s within the file, and speaker and label as the list gives them."""

Labels = Mapping[str, Sequence[str]]
"""Labels of each head, by its target; the main one's is empty."""


class ScoreRows:
    """Writes what is thought of clips, a row for each or for each of its windows.

    Args:
        stream: takes the rows.
        suffix: `.jsonl` or `.csv`.
        labels: K of each head.
        abstain: the main head gives no label below this probability.
        plot: folder for a picture of each item's scores over time.
        values: targets of heads whose scores are values, which give no label.
    """

    def __init__(
        self,
        stream: IO[str],
        suffix: str,
        labels: Labels,
        abstain: float | None,
        plot: Path | None,
        *,
        values: Sequence[str] = (),
    ) -> None:
        self._labels = labels
        self._row = ROWS[suffix](_Flushed(stream), labels, values)
        self._least = {name: float("inf") if name in values else (abstain or 0.0) * (not name) for name in labels}
        self._plot = plot

    def __call__(self, item: Utterance, opinion: Opinion) -> None:
        """Write the rows of a clip."""
        begin = item.start or 0.0
        facts: dict[str, Any] = {"id": item.id, "file": str(item.audio)}
        known = {"speaker": item.speaker, "given_label": item.label}
        said = {name: self._named(name, rows) for name, rows in {"": opinion.probabilities, **opinion.further}.items()}
        scores = said.pop("")
        edges = _edges(len(scores), opinion)
        for number, row in enumerate(scores):
            start, end = edges[number], edges[number + 1]
            times = {"start": round(begin + start, 6), "end": round(begin + end, 6)}
            if opinion.window is not None:
                times["window"] = round(end - start, 6)
            further = {name: self._given(name, rows[number]) for name, rows in said.items()}
            heads = {"heads": further} if further else {}
            self._row({**facts, **times, **known, **self._given("", row), **heads})
        if self._plot is not None:
            self._draw(self._plot, item, scores, [begin + edge for edge in edges])

    def _named(self, head: str, rows: np.ndarray) -> list[dict[str, float]]:
        """Scores (W, K) of a head by label."""
        return [dict(zip(self._labels[head], row, strict=True)) for row in rows.tolist()]

    def _given(self, head: str, row: dict[str, float]) -> dict[str, Any]:
        """The label that a head's scores give, and the scores."""
        label = max(row, key=row.__getitem__)
        return {"label": label if row[label] >= self._least[head] else None, "scores": row}

    def _draw(self, folder: Path, item: Utterance, scores: list[dict[str, float]], edges: list[float]) -> None:
        """Draw the scores of an item over time to `<plot>/<id>.png`."""
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{safe_name(item)}.png"
        SafeFolder(folder).make_parent(path, item)
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        for label in self._labels[""]:
            axes.stairs([row[label] for row in scores], edges, label=label, baseline=None)
        axes.set(xlabel="seconds", ylabel="probability", ylim=(0, 1), title=item.id)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        with complete_file(path) as partial:
            figure.savefig(partial, format="png")


def _edges(windows: int, opinion: Opinion) -> list[float]:
    """Where windows begin, and where the last one ends: with the audio; in s from the item's start."""
    length = opinion.window or opinion.seconds
    return [number * length for number in range(windows)] + [opinion.seconds]


class _Flushed:
    """A stream whose every row is out, or there is no place for it and for any other."""

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if error.errno in FULL:
                raise ConfigError(f"output: nothing more can be written: {error.strerror}") from error
            raise


class _JsonRows:
    def __init__(self, stream: _Flushed, labels: Labels, values: Sequence[str]):
        self._stream = stream

    def __call__(self, row: dict[str, Any]) -> None:
        heads = {name: _rounded(said) for name, said in row.get("heads", {}).items()}
        self._stream.write(json.dumps(_rounded(row) | ({"heads": heads} if heads else {})) + "\n")


def _rounded(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "scores": {label: round(score, 6) for label, score in said["scores"].items()}}


class _CsvRows:
    """Columns of `COLUMNS`, and one for each label's score; what is not known is empty.

    Of a head beside the main one there are `TARGET:label`, where it tells classes, and `TARGET:NAME` of each score.
    """

    def __init__(self, stream: _Flushed, labels: Labels, values: Sequence[str]):
        self._writer = csv.writer(stream)
        self._labels = labels
        self._values = values
        header = [*COLUMNS, *(f"score:{label}" for label in labels[""])]
        for name in self._further():
            header += [f"{name}:label"] * (name not in values) + [f"{name}:{label}" for label in labels[name]]
        self._writer.writerow(map(guarded, header))

    def _further(self) -> list[str]:
        return [name for name in self._labels if name]

    def __call__(self, row: dict[str, Any]) -> None:
        cells = [guarded(row.get(name)) for name in COLUMNS] + self._scores("", row)
        for name in self._further():
            said = row["heads"][name]
            cells += [guarded(said["label"])] * (name not in self._values) + self._scores(name, said)
        self._writer.writerow(cells)

    def _scores(self, head: str, said: dict[str, Any]) -> list[str]:
        return [f"{said['scores'][label]:.6f}" for label in self._labels[head]]


ROWS: dict[str, Callable[[_Flushed, Labels, Sequence[str]], Callable[[dict[str, Any]], None]]] = {
    ".jsonl": _JsonRows,
    ".csv": _CsvRows,
}
