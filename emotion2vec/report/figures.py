"""Figures of scores for a paper, as files; what they show is in `score_figures`, and can be read without colour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emotion2vec.documents import MOST_ANNOTATIONS, read_json
from emotion2vec.errors import ConfigError, StorageError
from emotion2vec.files import check_folder_name, complete_file
from emotion2vec.probe.results import ProbeResult
from emotion2vec.probe.scores import HeadScores
from emotion2vec.report.score_figures import Bars, Calibration, Confusion, Curves, Figure, Values

FORMATS = ("pdf", "svg", "png")

WIDTH, WIDTHS = 3.3, (2.0, 20.0)
"""Of a figure, in inches, as it is where no other is asked for; and what may be asked for."""

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "text.parse_math": False,  # names are names
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # text that can be searched and edited
    "savefig.dpi": 300,
}


def draw_figures(source: Path, output: Path | None = None, suffix: str = "pdf", width: float = WIDTH) -> list[Path]:
    """Draw the scores of `probe`, `benchmark` or `finetune`.

    Args:
        source: their JSON file.
        output: folder for the figures; None for one beside the file.
        suffix: `pdf`, `svg` or `png`.
        width: of the figures, in inches: 3.3 is a column of most papers, 6.9 their page.

    Returns:
        The files: `scores`, and of each feature and head, with both in the name where there are several, `confusion`,
        `roc` and `calibration`, or, of values, `values`.

    Raises:
        ConfigError: it is no such file, matplotlib is missing, or there is no such format or width.
        StorageError: a figure cannot be written.
    """
    if suffix not in FORMATS:
        raise ConfigError(f"format is {suffix!r}, expected one of {', '.join(FORMATS)}")
    if not WIDTHS[0] <= width <= WIDTHS[1]:
        raise ConfigError(f"width is {width:g}, expected {WIDTHS[0]:g} to {WIDTHS[1]:g} inches")
    result, folder = _read(source), output or source.with_name(f"{source.stem}_figures")
    check_folder_name(folder, "output", "figures")
    wanted: list[tuple[str, Figure]] = [("scores", Bars(result, width))]
    for scores in result.results:
        names = f"{Path(scores.feature).name} {scores.head} " if len(result.results) > 1 else ""
        for kind, figure in _parts(scores, list(result.about.classes or ()), width):
            wanted.append((re.sub(r"[^\w.+-]+", "_", f"{names}{kind}"), figure))
    folder.mkdir(parents=True, exist_ok=True)
    return [_written(folder / f"{name}.{suffix}", figure) for name, figure in wanted]


def _read(source: Path) -> ProbeResult:
    try:
        return ProbeResult.from_dict(read_json(source, MOST_ANNOTATIONS))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: cannot be read as JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{source}: holds no scores, expected what `probe --output` writes ({error})") from error


def _parts(scores: HeadScores, classes: list[str], width: float) -> Iterator[tuple[str, Figure]]:
    """Kinds of figures of a feature and head, and the figures."""
    if scores.confusion is not None:
        yield "confusion", Confusion(scores.confusion, classes, width)
    if scores.roc is not None:
        yield "roc", Curves(scores, width)
    if scores.reliability is not None:
        yield "calibration", Calibration(scores.reliability, width)
    if scores.points is not None:
        yield "values", Values(scores.points, width)


def _written(path: Path, drawn: Figure) -> Path:
    with _pyplot() as plt:
        figure, axes = plt.subplots(figsize=drawn.size, layout="constrained")
        try:
            drawn.draw(axes)
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
