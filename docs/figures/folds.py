"""Draw what folds are worth, from scores of `emotion2vec probe`: `python docs/figures/folds.py FOLDER`.

FOLDER has `CORPUS_random.json` and `CORPUS_speaker.json` of corpora that were probed with both schemes; folds.svg is
written beside this script, and the table of docs/explanation/folds.md to the terminal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "folds", "svg.fonttype": "none", "font.family": "sans-serif"}

import numpy as np  # noqa: E402 (after the backend)
from matplotlib import pyplot as plt  # noqa: E402

TITLES = {"emodb": "EmoDB", "nemo": "nEMO", "emotale": "EmoTale", "ased": "ASED"}
SCHEMES = {"random": ("clips divided at random", "#E69F00"), "speaker": ("speakers held out", "#0072B2")}
"""What a scheme is called in the figure, and its colour (Okabe and Ito)."""


def unweighted(file: Path) -> dict[str, float]:
    """UA in percent of all clips, by feature, in a file of scores."""
    document = json.loads(file.read_text(encoding="utf-8"))
    return {one["feature"]: one["pooled"]["UA"] for one in document["results"]}


def main(folder: Path, output: Path) -> None:
    """Draw the figure into a file, and print the table."""
    corpora = sorted({file.stem.rpartition("_")[0] for file in folder.glob("*_random.json")})
    bars = [
        (f"{TITLES[corpus]}\n{feature}", {scheme: found[scheme][feature] for scheme in SCHEMES})
        for corpus in corpora
        for found in ({scheme: unweighted(folder / f"{corpus}_{scheme}.json") for scheme in SCHEMES},)
        for feature in found["random"]
    ]
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    places = np.arange(len(bars))
    for number, (scheme, (name, colour)) in enumerate(SCHEMES.items()):
        values = [scores[scheme] for _, scores in bars]
        drawn = axes.bar(places + 0.38 * (number - 0.5), values, 0.36, label=name, color=colour)
        axes.bar_label(drawn, fmt="%.0f", fontsize=8)
    axes.set_xticks(places, [name for name, _ in bars], fontsize=8)
    axes.set(ylabel="UA (%)", ylim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    figure.savefig(output, metadata={"Date": None})
    for name, scores in bars:
        print("| " + " | ".join([*name.split("\n"), *(f"{scores[scheme]:.1f}" for scheme in SCHEMES)]) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).with_suffix(".svg"))
