"""What `predict --adapt` is worth on corpora that were not in training, by the number and the mixture of clips.

OMP_NUM_THREADS=2 python benchmarks/adaptation.py NAME=FOLDER... --features OUT [--model compact] [--clips 1000]

A FOLDER has a `metadata.tsv` of the columns file and emotion. Of each corpus at most `--clips`, as many of every class
as there are, have their features extracted (mean and deviation over time) into OUT, unless they are there. Logistic
regression on all corpora but one, clips drawn alike over corpora and classes, gives scores of the last; sets of its
clips are scored as they are, standardized per class over the set, and adapted. `even` draws them as they come, `skewed`
70 % of one class; `all classes` lets classes be told that the corpus does not have. WA and UA, means over sets and
corpora.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from emotion2vec.corpora.labels import class_name
from emotion2vec.extraction import extract
from emotion2vec.tasks.adaptation import adapted

OF = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
SETS = 30
COUNTS = (30, 100, 300)


@dataclass(frozen=True)
class Corpus:
    """Vectors (N, P) of clips and their classes (N,)."""

    vectors: np.ndarray
    labels: np.ndarray


def read(name: str, folder: Path, out: Path, model: str, most: int) -> Corpus:
    """Choose clips, extract their features where they are not there, and read them."""
    with open(folder / "metadata.tsv", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if class_name(row["emotion"]) in OF]
    rng, by_class = np.random.default_rng(0), defaultdict(list)
    for row in rows:
        by_class[class_name(row["emotion"])].append(row["file"])
    each = most // len(by_class)
    chosen = {
        file: label
        for label, files in sorted(by_class.items())
        for file in rng.permutation(sorted(files))[:each].tolist()
    }
    target = out / name
    if not target.exists():
        report = extract(
            [folder / file for file in chosen],
            model=model,
            output=target,
            granularity="utterance",
            pooling="mean+std",
            progress=True,
        )
        print(name, report.written, "clips,", len(report.failed), "failed")
    vectors = {path.stem: np.load(path) for path in target.rglob("*.npy")}
    kept = [(vectors[Path(file).stem], label) for file, label in chosen.items() if Path(file).stem in vectors]
    return Corpus(np.stack([vector for vector, _ in kept]), np.array([label for _, label in kept]))


def scores_of(corpora: dict[str, Corpus], held: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) of a corpus's clips by the others, and the K classes."""
    trained = [corpus for name, corpus in corpora.items() if name != held]
    vectors, labels = (np.concatenate([getattr(one, part) for one in trained]) for part in ("vectors", "labels"))
    weights = np.concatenate([1 / np.sum(one.labels == one.labels[:, None], axis=1) for one in trained])
    scaler = StandardScaler().fit(vectors)
    model = LogisticRegression(C=1e-3, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(vectors), labels, sample_weight=weights * len(weights) / weights.sum())
    return model.decision_function(scaler.transform(corpora[held].vectors)), model.classes_


def draw(labels: np.ndarray, count: int, frequent: str | None, rng: np.random.Generator) -> np.ndarray:
    """Positions of clips, as they come or 70 % of one class."""
    if frequent is None:
        return rng.choice(len(labels), min(count, len(labels)), replace=False)
    classes, numbers = np.unique(labels, return_counts=True)
    shares = {one: 0.7 if one == frequent else 0.3 / (len(classes) - 1) for one in classes}
    chances = np.array([shares[one] / numbers[classes == one][0] for one in labels])
    return rng.choice(len(labels), count, p=chances)


def right(scores: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """WA and UA in percent."""
    hits = classes[scores.argmax(axis=1)] == labels
    return 100 * hits.mean(), 100 * float(np.mean([hits[labels == one].mean() for one in np.unique(labels)]))


def wrote(pairs: list[tuple[float, float]]) -> str:
    """Means of WA and UA."""
    accuracy, recall = np.mean(pairs, axis=0)
    return f"{accuracy:.1f}, {recall:.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--clips", type=int, default=1000)
    arguments = parser.parse_args()
    corpora = {
        name: read(name, Path(folder), arguments.features, arguments.model, arguments.clips)
        for name, _, folder in (text.partition("=") for text in arguments.corpora)
    }
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for name, corpus in corpora.items():
        scores, classes = scores_of(corpora, name)
        known = np.isin(corpus.labels, classes)
        labels, scores = corpus.labels[known], scores[known]
        common = np.isin(classes, labels)
        kinds = [("even", None, common), ("skewed", 0, common), ("even, all classes", None, common | True)]
        for kind, skewed, columns in kinds:
            for count in (*COUNTS, len(labels)):
                rng = np.random.default_rng(1)
                for number in range(SETS if count in COUNTS else 1):
                    frequent = None if skewed is None else classes[common][number % common.sum()]
                    rows = draw(labels, count, frequent, rng)
                    part, names, truth = scores[rows][:, columns], classes[columns], labels[rows]
                    standardized = (part - part.mean(axis=0)) / part.std(axis=0)
                    ways = {"as they are": part, "standardized": standardized, "adapted": adapted(part)}
                    shown = str(count) if count in COUNTS else "all"
                    for way, answer in ways.items():
                        found[kind, shown, way].append(right(answer, names, truth))
                        if shown == "all" and kind != "skewed":
                            print(f"{name}, {kind}, {way}: WA, UA {wrote(found[kind, shown, way][-1:])}")
    for (kind, shown, way), pairs in found.items():
        print(f"{kind}, {shown} clips, {way}: WA, UA {wrote(pairs)}")


if __name__ == "__main__":
    main()
