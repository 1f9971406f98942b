"""Draw the network in pretraining: `python docs/figures/architecture.py` writes architecture.svg beside it."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "architecture", "svg.fonttype": "none", "font.family": "sans-serif"}

import numpy as np  # noqa: E402 (after the backend)
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402

from emotion2vec.pretrain.config import MaskConfig  # noqa: E402
from emotion2vec.pretrain.masking import time_mask  # noqa: E402

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#777777"
"""Colours of Okabe and Ito, which the colour-blind tell apart."""
FRAMES = 20


def box(axes: Axes, place: tuple[float, float], size: tuple[float, float], text: str, colour: str) -> None:
    """A part of the network, in the middle of `place`."""
    (x, y), (width, height) = place, size
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.12", fc=colour + "22", ec=colour)
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = "black", **style: str
) -> None:
    """What flows from one part to another."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2, **style})


def frames(axes: Axes, place: tuple[float, float], seen: np.ndarray, colour: str, tokens: int = 0) -> None:
    """A row of frames, those that are hidden empty, behind utterance tokens."""
    x, y = place
    size = 0.18
    left = x - size * (len(seen) + tokens) / 2
    for number in range(tokens):
        axes.add_patch(plt.Circle((left + size * (number + 0.5), y), 0.08, fc=GREEN, ec=GREEN))
    for number, there in enumerate(seen):
        corner = (left + size * (number + tokens) + 0.02, y - 0.11)
        axes.add_patch(plt.Rectangle(corner, size - 0.04, 0.22, fc=colour if there else "white", ec=colour, lw=0.6))


def main(output: Path) -> None:
    """Draw it into a file."""
    figure, axes = plt.subplots(figsize=(8.2, 5.6))
    mask = time_mask(FRAMES, MaskConfig(), np.random.default_rng(3))  # (T,), True = masked
    time = np.linspace(0, 1, 500)
    wave = np.sin(90 * time) * np.exp(-(((time - 0.4) / 0.25) ** 2)) + 0.2 * np.sin(230 * time)
    axes.plot(2.2 + 4.0 * time, 0.35 + 0.22 * wave, color=GREY, lw=0.7)
    axes.text(2.0, 0.35, "waveform, 16 kHz", ha="right", va="center", fontsize=9)
    arrow(axes, (4.2, 0.65), (4.2, 0.95))
    box(axes, (4.2, 1.2), (3.6, 0.5), "front end: 7 convolutions, linear", GREY)
    axes.text(6.2, 1.2, "a frame every 20 ms", ha="left", va="center", fontsize=8, color=GREY)

    frames(axes, (2.2, 2.25), ~mask, BLUE, tokens=3)
    axes.text(2.2, 2.55, "8 views: half of the frames, and utterance tokens", ha="center", fontsize=8, color=GREY)
    frames(axes, (6.6, 2.25), np.ones(FRAMES, bool), ORANGE)
    axes.text(6.6, 2.55, "every frame", ha="center", fontsize=8, color=GREY)
    arrow(axes, (3.6, 1.47), (2.6, 2.05))
    arrow(axes, (4.8, 1.47), (6.2, 2.05))

    box(axes, (2.2, 3.2), (3.6, 0.6), "student: 12 Transformer blocks", BLUE)
    box(axes, (6.6, 3.2), (3.6, 0.6), "teacher: the same 12 blocks", ORANGE)
    arrow(axes, (2.2, 2.72), (2.2, 2.88))
    arrow(axes, (6.6, 2.72), (6.6, 2.88))
    arrow(axes, (4.05, 3.2), (4.75, 3.2), GREY, linestyle="dashed")
    axes.text(4.4, 3.33, "EMA", ha="center", fontsize=8, color=GREY)

    box(axes, (2.95, 4.25), (1.9, 0.6), "decoder", BLUE)
    box(axes, (0.95, 4.25), (1.3, 0.6), "mean", GREEN)
    box(axes, (5.6, 4.25), (2.2, 0.7), "normalized over time,\nmean of the top 8", ORANGE)
    box(axes, (7.95, 4.25), (1.9, 0.7), "mean over time,\nstandardized", ORANGE)
    for start, end, colour in (
        ((2.6, 3.52), (2.9, 3.93), BLUE),
        ((1.4, 3.52), (1.05, 3.93), GREEN),
        ((6.3, 3.52), (5.75, 3.88), ORANGE),
        ((7.2, 3.52), (7.75, 3.88), ORANGE),
    ):
        arrow(axes, start, end, colour)
    axes.text(2.55, 3.72, "frames", ha="right", fontsize=8, color=BLUE)
    axes.text(1.02, 3.72, "tokens", ha="right", fontsize=8, color=GREEN)

    box(axes, (4.35, 5.25), (2.9, 0.5), "frame loss, hidden frames", GREY)
    box(axes, (4.35, 6.05), (2.9, 0.5), "utterance loss", GREY)
    arrow(axes, (3.1, 4.57), (3.8, 4.98))
    arrow(axes, (5.5, 4.62), (4.9, 4.98))
    axes.plot([0.95, 0.95], [4.57, 6.05], color="black", lw=1.2)
    arrow(axes, (0.95, 6.05), (2.88, 6.05))
    axes.plot([7.95, 7.95], [4.62, 6.05], color="black", lw=1.2)
    arrow(axes, (7.95, 6.05), (5.82, 6.05))

    axes.set(xlim=(0.1, 9.0), ylim=(0, 6.45), aspect="equal")
    axes.axis("off")
    figure.savefig(output, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(__file__).with_suffix(".svg"))
