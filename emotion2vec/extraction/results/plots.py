"""Pictures of scores over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.results.rows import Row
from emotion2vec.extraction.writers.base import SafeFolder, safe_name
from emotion2vec.files import complete_file


class Plots:
    """Draws the scores of each clip over time to `<folder>/<id>.png`."""

    def __init__(self, folder: Path):
        self._folder = folder

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """See `Rows`."""
        from matplotlib.figure import Figure

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{safe_name(item)}.png"
        SafeFolder(self._folder).make_parent(path, item)
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        edges = [row.start for row in rows] + [rows[-1].end]
        for label in rows[0].scores:
            axes.stairs([row.scores[label] for row in rows], edges, label=label, baseline=None)
        axes.set(xlabel="seconds", ylabel="probability", ylim=(0, 1), title=item.id)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        with complete_file(path) as partial:
            figure.savefig(partial, format="png")
