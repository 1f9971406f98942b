"""Plot a pretraining run: losses, the explained share of the targets, and what to watch for collapse.

python examples/plot_run.py runs/tiny docs/tiny_run.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def plot_run(run: Path, picture: Path) -> None:
    """Draw `metrics.jsonl` of a run folder to a PNG; needs matplotlib (`pip install 'emotion2vec[plots]'`)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    updates = [line["update"] for line in lines]
    panels = [
        ("loss", ["frame_loss", "utterance_loss"]),
        ("explained share of the targets", ["explained_share"]),
        ("standard deviation", ["target_std", "prediction_std", "utterance_target_std"]),
        ("effective rank of the CNN's output", ["cnn_rank"]),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, constrained_layout=True)
    for axis, (title, names) in zip(axes.flat, panels, strict=True):
        for name in names:
            values = [line.get(name) for line in lines]
            if any(value is not None for value in values):
                axis.plot(updates, _smooth(values), label=name.replace("_", " "), linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize=8)
    axes[0, 0].set_ylim(0, 2 * _late_maximum(lines))
    axes[0, 1].set_ylim(0, 1)
    for axis in axes[1]:
        axis.set_xlabel("update")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def _smooth(values: list[float | None], window: int = 9) -> list[float]:
    """Centered moving mean; single updates are noisy because each holds a handful of utterances."""
    half = window // 2
    smoothed = []
    for index in range(len(values)):
        near = [value for value in values[max(0, index - half) : index + half + 1] if value is not None]
        smoothed.append(sum(near) / len(near) if near else float("nan"))
    return smoothed


def _late_maximum(lines: list[dict[str, float]]) -> float:
    """Largest loss after the first tenth of the run, which sets the scale: the start is far above everything else."""
    late = lines[len(lines) // 10 :]
    return max(max(line["frame_loss"], line.get("utterance_loss", 0.0)) for line in late)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/plot_run.py RUN_FOLDER PICTURE.png")
    plot_run(Path(sys.argv[1]), Path(sys.argv[2]))
