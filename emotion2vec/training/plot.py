"""A picture of a run, from its `metrics.jsonl` and `probes.jsonl`: the function behind `emotion2vec plot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion2vec.errors import ConfigError
from emotion2vec.files import complete_file
from emotion2vec.training.run_folder import METRICS, PROBES, read_lines

FEW = 30
"""Points of a curve below which each is marked, and none is smoothed away or cut off."""

# Panels of the picture: a title, and the names of what is drawn in it, where a run has it.
PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("frame_loss", "utterance_loss", "validation_frame_loss", "hidden_loss", "seen_loss")),
    ("clusters that were said, %", ("hidden_accuracy", "seen_accuracy", "validation_hidden_accuracy")),
    ("explained share of the targets", ("explained_share", "validation_explained_share")),
    ("standard deviation", ("target_std", "prediction_std", "cnn_std", "utterance_target_std")),
    ("effective rank", ("cnn_rank", "utterance_rank")),
    ("gradient norm", ("grad_norm",)),
    ("probe, %", ("UA", "WF1")),
    ("audio in s per second", ("audio_seconds_per_second",)),
    ("share", ("mfu", "data_wait")),
)


def plot_run(run: str | Path, output: str | Path | None = None) -> Path:
    """Draw what a run logged, as a PNG, PDF or SVG.

    Args:
        run: a run folder.
        output: the picture's file; `metrics.png` in the run folder by default.

    Returns:
        The picture's file.

    Raises:
        ConfigError: the folder holds no metrics, matplotlib is missing, or the picture cannot be written.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder, expected a table of `emotion2vec predict` (.csv, .xlsx, ...), a JSON file of "
            "scores, or a run folder of `emotion2vec pretrain`"
        )
    lines, probes = read_lines(folder / METRICS), read_lines(folder / PROBES)
    if not lines:
        raise ConfigError(
            f"{folder / METRICS}: no metrics, expected a run folder of `emotion2vec pretrain`, or a folder with a "
            "table of `emotion2vec predict`"
        )
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError("plot needs matplotlib: pip install 'emotion2vec[plots]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [(title, found) for title, names in PANELS if (found := curves([*lines, *probes], names))]
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(10, 2.6 * rows), squeeze=False, constrained_layout=True)
    for axis, (title, found) in zip(axes.flat, panels, strict=False):
        for name, (updates, values) in found.items():
            marker = "o" if len(values) < FEW else None
            shown = values if marker else smooth(values)
            axis.plot(updates, shown, label=name.replace("_", " "), linewidth=1.2, marker=marker, markersize=3)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
        long = all(len(values) >= FEW for _, values in found.values())  # of short runs every point is shown
        if title == "loss" and long:
            axis.set_ylim(0, 1.5 * late_maximum(found))
        if title.startswith("explained") and long:
            axis.set_ylim(min(0.0, min(found.get("explained_share", ([], [0.0]))[1][-1:])), 1)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    picture = folder / "metrics.png" if output is None else Path(output)
    try:
        with complete_file(picture) as partial:
            figure.savefig(partial, dpi=110, format=picture.suffix.lstrip(".").lower() or "png")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{picture}: the picture cannot be written: {error}") from error
    finally:
        plt.close(figure)
    return picture


def curves(lines: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, tuple[list[int], list[float]]]:
    """Updates and values of each name that the lines have; what was not finite is left out."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for name in names:
        points = [(line["update"], line[name]) for line in lines if line.get(name) is not None]
        if points:
            found[name] = ([update for update, _ in points], [value for _, value in points])
    return found


def smooth(values: Sequence[float], window: int = 9) -> list[float]:
    """Centered moving mean; single updates are noisy because each holds a handful of utterances."""
    half = window // 2
    near = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(some) / len(some) for some in near]


def late_maximum(found: dict[str, tuple[list[int], list[float]]]) -> float:
    """Largest smoothed value after the first tenth of each curve: the start and single updates lie far above it."""
    return max(max(smooth(values)[len(values) // 10 :]) for _, values in found.values())
