"""Figures of scores for a paper: bars with intervals, confusions, ROC curves, calibration, true against predicted.

They have the width of a column (85 mm), and can be read without colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion2vec.documents import MOST_ANNOTATIONS, read_json
from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.files import check_folder_name, complete_file
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("pdf", "svg", "png")
WIDTH = 85 / 25.4
"""Of a figure, in inches."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart."""
LINES = ("-", "--", "-.", ":")

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # text that can be searched and edited
    "savefig.dpi": 300,
}


def draw_figures(source: Path, output: Path | None = None, suffix: str = "pdf") -> list[Path]:
    """Draw the scores of `probe`, `benchmark` or `finetune`.

    Args:
        source: their JSON file.
        output: folder for the figures; None for one beside the file.
        suffix: `pdf`, `svg` or `png`.

    Returns:
        The files: `scores`, and of each feature and head, with both in the name where there are several, `confusion`,
        `roc` and `calibration`, or, of values, `values`.

    Raises:
        ConfigError: it is no such file, matplotlib is missing, or there is no such format.
        StorageError: a figure cannot be written.
    """
    if suffix not in FORMATS:
        raise ConfigError(f"format is {suffix!r}, expected one of {', '.join(FORMATS)}")
    result, folder = _read(source), output or source.with_name(f"{source.stem}_figures")
    check_folder_name(folder, "output", "figures")
    wanted: list[tuple[str, tuple[float, float], Callable[[Axes], None]]] = []
    height = 0.25 * len(result.results) + 0.6
    wanted.append(("scores", (WIDTH, height), lambda axes: _bars(axes, result)))
    for scores in result.results:
        names = f"{Path(scores.feature).name} {scores.head} " if len(result.results) > 1 else ""
        for kind, size, draw in _parts(scores, list(result.about.classes or ())):
            wanted.append((re.sub(r"[^\w.+-]+", "_", f"{names}{kind}"), size, draw))
    folder.mkdir(parents=True, exist_ok=True)
    return [_written(folder / f"{name}.{suffix}", size, draw) for name, size, draw in wanted]


def _read(source: Path) -> ProbeResult:
    try:
        return ProbeResult.from_dict(read_json(source, MOST_ANNOTATIONS))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: cannot be read as JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{source}: holds no scores, expected what `probe --output` writes ({error})") from error


def _parts(scores: HeadScores, classes: list[str]) -> Iterator[tuple[str, tuple[float, float], Callable[[Axes], None]]]:
    """Kinds of figures of a feature and head, their sizes in inches, and what draws them."""
    if scores.confusion is not None:
        matrix = np.array(scores.confusion)
        yield "confusion", (WIDTH, WIDTH), lambda axes: _confusion(axes, matrix, classes)
    if (curves := scores.roc) is not None:
        yield "roc", (WIDTH, WIDTH), lambda axes: _curves(axes, scores, curves)
    if (bins := scores.reliability) is not None:
        yield "calibration", (WIDTH, 0.8 * WIDTH), lambda axes: _calibration(axes, bins)
    if (points := scores.points) is not None:
        yield "values", (WIDTH, WIDTH), lambda axes: _values(axes, points)


def _written(path: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> Path:
    with _pyplot() as plt:
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        try:
            draw(axes)
            with complete_file(path) as partial:
                figure.savefig(partial, format=path.suffix[1:])
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
        finally:
            plt.close(figure)
    return path


@contextmanager
def _pyplot() -> Iterator[Any]:
    """Matplotlib, without a screen and in our style.

    Raises:
        ConfigError: it is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError("figures need matplotlib: pip install 'emotion2vec[plots]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        yield plt


def _bars(axes: Axes, result: ProbeResult) -> None:
    """The main metric of all test clips of each feature and head, the best on top, with intervals."""
    rows = sorted(result.results, key=lambda row: row.pooled[row.main])
    main, unit = rows[0].main, rows[0].unit
    for place, row in enumerate(rows):
        value, (low, high) = row.pooled[main], row.intervals[main]
        axes.barh(place, value, height=0.6, color=COLOURS[0] if place == len(rows) - 1 else "#9ab8cc")
        axes.plot([low, high], [place, place], color="black")
        axes.text(max(value, high), place, f"  {value:.1f}" if unit else f"  {value:.2f}", va="center")
    axes.set_yticks(range(len(rows)), [f"{Path(row.feature).name}, {row.head}" for row in rows])
    axes.set_xlim(0, 115 if unit == "%" else 1.15)
    over = rows[0].intervals_over
    axes.set_xlabel(f"{main}{' in %' * (unit == '%')}, with 95 % over {over}")


def _confusion(axes: Axes, matrix: np.ndarray, classes: list[str]) -> None:
    """Shares of each true class in %, and clips."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = 100 * matrix / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color="white" if share > 55 else "black")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), [f"{name} ({n})" for name, n in zip(classes, totals[:, 0], strict=True)])
    axes.set_xlabel("predicted, in % of the true class")
    axes.set_ylabel("true (clips)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _curves(axes: Axes, scores: HeadScores, curves: Any) -> None:
    """ROC curve of each class against the others."""
    axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.6)
    for (label, points), colour, line in zip(curves.items(), cycle(COLOURS), cycle(LINES), strict=False):
        x, y = 100 * np.array(points).T
        area = scores.further.get(f"AUC {label}")
        axes.plot(x, y, line, color=colour, label=f"{label} {area:.1f}" if area is not None else label)
    axes.set(xlabel="others taken for it, in %", ylabel="found, in %", xlim=(0, 100), ylim=(0, 101), aspect="equal")
    axes.legend(title="area under it, in %", loc="lower right", title_fontsize=7)


def _calibration(axes: Axes, bins: Any) -> None:
    """What is right among predictions of a probability."""
    axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.6)
    for (name, rows), colour, line in zip(bins.items(), COLOURS, LINES, strict=False):
        x, y = ([row[key] for row in rows] for key in ("confidence", "right"))
        axes.plot(x, y, line, color=colour, marker="o", markersize=2.5, label=name)
    axes.set(xlabel="probability, in %", ylabel="right, in %", xlim=(0, 101), ylim=(0, 101))
    axes.legend(loc="upper left")


def _values(axes: Axes, points: Any) -> None:
    """Predicted against true values."""
    for (name, pairs), colour, marker in zip(points.items(), cycle(COLOURS), cycle("o^sdvPX"), strict=False):
        true, predicted = np.array(pairs).T
        axes.plot(true, predicted, marker, color=colour, markersize=2, alpha=0.5, markeredgewidth=0, label=name)
    ends = [min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])]
    axes.plot(ends, ends, color="0.5", linewidth=0.6)
    axes.set(xlabel="true", ylabel="predicted", aspect="equal")
    axes.legend(markerscale=2)
