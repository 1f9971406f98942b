"""Make the reference set that the page of `emotion2vec demo` draws around two clips, for a model and a labelled corpus.

    python examples/make_reference.py /data/nemo compact --rename surprised=surprise --about "..." \
        --output checkpoints/compact/reference.json

The corpus is a folder with a `metadata.tsv` of the columns file, speaker and emotion. Of every clip the features are
the mean of the last layer over time. Two dimensions are those of linear discriminant analysis that tell the emotions
best (shrunk covariance, Ledoit and Wolf, 2004). What is written of the clips is a few of their places there, and how
alike clips of different speakers are.

N: clips. D: model width.
"""

from __future__ import annotations

import argparse
import csv
import json
from itertools import groupby
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import emotion2vec
from emotion2vec.model.fingerprint import weights_hash

PAIRS = 20_000
"""Pairs of clips whose cosines are looked at, of the same emotion and of different ones."""


def read(folder: Path, most: int, shown: int) -> list[tuple[dict[str, str], bool]]:
    """The first clips of each speaker with each emotion, and whether they are among the first few of these."""
    with open(folder / "metadata.tsv", encoding="utf-8", newline="") as stream:
        rows = sorted(csv.DictReader(stream, delimiter="\t"), key=lambda row: (row["speaker"], row["emotion"]))
    groups = groupby(rows, key=lambda row: (row["speaker"], row["emotion"]))
    ordered = (sorted(group, key=lambda row: row["file"]) for _, group in groups)
    return [(row, place < shown) for group in ordered for place, row in enumerate(group[:most])]


def quantiles(vectors: np.ndarray, speakers: np.ndarray, emotions: np.ndarray, *, same: bool) -> list[float]:
    """Percentiles of the cosine of features (N, D) of two speakers' clips, with the same emotion or different ones."""
    random = np.random.default_rng(0)
    first, second = random.integers(len(vectors), size=(2, 20 * PAIRS))
    fits = (speakers[first] != speakers[second]) & ((emotions[first] == emotions[second]) == same)
    first, second = first[fits][:PAIRS], second[fits][:PAIRS]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.percentile((unit[first] * unit[second]).sum(axis=1), range(101)).round(4).tolist()


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("model")
    parser.add_argument("--about", required=True, help="what the clips are, with their licence")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="what an emotion is called")
    parser.add_argument("--clips", type=int, default=20, help="of each speaker with each emotion, to learn from")
    parser.add_argument("--shown", type=int, default=6, help="of these, whose places are written")
    arguments = parser.parse_args()
    model = emotion2vec.load_model(arguments.model)
    rows, kept = zip(*read(arguments.corpus, arguments.clips, arguments.shown), strict=True)
    vectors = np.stack([model.extract_features(str(arguments.corpus / row["file"])).utterance for row in rows])
    names = dict(pair.split("=", 1) for pair in arguments.rename)
    speakers = np.array([row["speaker"] for row in rows])
    emotions = np.array([names.get(row["emotion"], row["emotion"]) for row in rows])
    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(vectors, emotions)
    mean, axes = vectors.mean(axis=0), analysis.scalings_[:, :2].T
    content = {
        "about": arguments.about,
        "weights": weights_hash(model),
        "mean": mean.astype(float).round(6).tolist(),
        "axes": axes.astype(float).round(6).tolist(),
        "points": ((vectors - mean) @ axes.T)[list(kept)].round(3).tolist(),
        "labels": emotions[list(kept)].tolist(),
        "same": quantiles(vectors, speakers, emotions, same=True),
        "different": quantiles(vectors, speakers, emotions, same=False),
    }
    arguments.output.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{arguments.output}: {len(rows)} clips, {sum(kept)} of them shown")


if __name__ == "__main__":
    main()
