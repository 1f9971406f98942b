"""Rows of scores: JSON lines or CSV, and pictures of scores over time.

W: windows. K: labels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from emotion2vec.cells import guarded
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.scoring import Opinion
from emotion2vec.extraction.writers.base import SafeFolder, safe_name
from emotion2vec.files import complete_file

COLUMNS = ("id", "file", "start", "end", "window", "speaker", "given_label", "label")
"""What a row says beside scores: times in s within the file, and speaker and label as the list gives them."""


class ScoreRows:
    """Writes what is thought of clips, a row for each or for each of its windows.

    Args:
        stream: takes the rows.
        suffix: `.jsonl` or `.csv`.
        labels: K.
        abstain: no label is given below this probability.
        plot: folder for a picture of each item's scores over time.
        values: whether scores are values, which give no label.
    """

    def __init__(
        self,
        stream: IO[str],
        suffix: str,
        labels: Sequence[str],
        abstain: float | None,
        plot: Path | None,
        *,
        values: bool = False,
    ) -> None:
        self._labels = list(labels)
        self._row = ROWS[suffix](stream, self._labels)
        self._least = float("inf") if values else abstain or 0.0
        self._plot = plot

    def __call__(self, item: Utterance, opinion: Opinion) -> None:
        """Write the rows of a clip."""
        begin = item.start or 0.0
        facts: dict[str, Any] = {"id": item.id, "file": str(item.audio)}
        known = {"speaker": item.speaker, "given_label": item.label}
        scores = [dict(zip(self._labels, row, strict=True)) for row in opinion.probabilities.tolist()]
        edges = _edges(len(scores), opinion)
        for number, row in enumerate(scores):
            start, end = edges[number], edges[number + 1]
            times = {"start": round(begin + start, 6), "end": round(begin + end, 6)}
            if opinion.window is not None:
                times["window"] = round(end - start, 6)
            label = max(row, key=row.__getitem__)
            given = label if row[label] >= self._least else None
            self._row({**facts, **times, **known, "label": given, "scores": row})
        if self._plot is not None:
            self._draw(self._plot, item, scores, [begin + edge for edge in edges])

    def _draw(self, folder: Path, item: Utterance, scores: list[dict[str, float]], edges: list[float]) -> None:
        """Draw the scores of an item over time to `<plot>/<id>.png`."""
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{safe_name(item)}.png"
        SafeFolder(folder).make_parent(path, item)
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        for label in self._labels:
            axes.stairs([row[label] for row in scores], edges, label=label, baseline=None)
        axes.set(xlabel="seconds", ylabel="probability", ylim=(0, 1), title=item.id)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        with complete_file(path) as partial:
            figure.savefig(partial, format="png")


def _edges(windows: int, opinion: Opinion) -> list[float]:
    """Where windows begin, and where the last one ends: with the audio; in s from the item's start."""
    length = opinion.window or opinion.seconds
    return [number * length for number in range(windows)] + [opinion.seconds]


class _JsonRows:
    def __init__(self, stream: IO[str], labels: list[str]):
        self._stream = stream

    def __call__(self, row: dict[str, Any]) -> None:
        rounded = {label: round(score, 6) for label, score in row["scores"].items()}
        self._stream.write(json.dumps({**row, "scores": rounded}) + "\n")
        self._stream.flush()


class _CsvRows:
    """Columns of `COLUMNS`, and one for each label's score; what is not known is empty."""

    def __init__(self, stream: IO[str], labels: list[str]):
        self._writer = csv.writer(stream)
        self._writer.writerow([*COLUMNS, *(f"score:{label}" for label in labels)])
        self._labels = labels

    def __call__(self, row: dict[str, Any]) -> None:
        facts = [guarded(row.get(name)) for name in COLUMNS]
        self._writer.writerow([*facts, *(f"{row['scores'][label]:.6f}" for label in self._labels)])


ROWS: dict[str, Callable[[IO[str], list[str]], Callable[[dict[str, Any]], None]]] = {
    ".jsonl": _JsonRows,
    ".csv": _CsvRows,
}
