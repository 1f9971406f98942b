"""How right the labels of a pool are that iterations gave it, by class and by filter, where somebody knows the truth.

OMP_NUM_THREADS=1 python benchmarks/hidden_labels.py RUN/round_1/labels.parquet METADATA [--labels anger=angry ...]

METADATA is a table of the columns file and emotion, whose labels the pool did not have; clips are found by the names of
their files. `--labels` says what a label of METADATA is among the classes, where it is not spelled so. Each filter is
applied alone, then all that the table has opinions for; rows are precision in % (clips kept), of each class and of all,
and the share that is kept of the clips whose truth is known.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet

from emotion2vec.iterate.config import FilterSettings
from emotion2vec.iterate.filters import KEPT, NO_CLASS, NO_TEXT, Opinions, refused

OFF = FilterSettings(quantile=0.0)


def read(path: Path) -> tuple[Opinions, list[str], list[str]]:
    """What was thought of the clips, their files, and the classes."""
    table = pyarrow.parquet.read_table(path).to_pydict()
    classes = [name.removeprefix("score:") for name in table if name.startswith("score:")]
    heard = np.array([label is not None for label in table["label"]])
    scores = np.array([[value or 0.0 for value in table[f"score:{name}"]] for name in classes]).T
    numbers = {name: place for place, name in enumerate(classes)} | {None: NO_TEXT}
    second, text = (
        np.array([numbers.get(one, NO_CLASS) for one in table[name]]) if name in table else None
        for name in ("second", "text")
    )
    agreeing = np.array([value or 0.0 for value in table["windows"]]) if "windows" in table else None
    seconds = np.array([value or 0.0 for value in table["seconds"]])
    opinions = Opinions(table["id"], seconds, scores, heard, agreeing, second, text)
    return opinions, table["file"], classes


def truth_of(metadata: Path, files: list[str], renamed: dict[str, str], classes: list[str]) -> np.ndarray:
    """Numbers of the true classes (N,), -1 for none of them."""
    with metadata.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t" if metadata.suffix == ".tsv" else ","))
    known = {Path(row["file"]).name: renamed.get(row["emotion"], row["emotion"]) for row in rows}
    labels = [known.get(Path(file).name, "") for file in files]
    return np.array([classes.index(label) if label in classes else -1 for label in labels])


def filters_of(opinions: Opinions) -> dict[str, tuple[Opinions, FilterSettings]]:
    """Filters by name, with the opinions that they look at."""
    plain = replace(opinions, agreeing=None, second=None, text=None)
    cap = int(np.bincount(opinions.numbers[opinions.heard]).min() // 2)
    found = {"none": (plain, OFF)}
    for quantile in (0.5, 0.7, 0.9):
        found[f"quantile {quantile:g}"] = plain, replace(OFF, quantile=quantile)
    if opinions.second is not None:
        found["second model"] = replace(plain, second=opinions.second), OFF
    if opinions.text is not None:
        found["transcripts"] = replace(plain, text=opinions.text), OFF
    if opinions.agreeing is not None:
        for share in (0.6, 1.0):
            found[f"windows {share:g}"] = replace(plain, agreeing=opinions.agreeing), replace(OFF, agreeing=share)
    found[f"cap {cap}"] = plain, replace(OFF, cap=cap)
    found["balance 2"] = plain, replace(OFF, balance=2)
    for quantile in (0.5, 0.9):
        found[f"all, quantile {quantile:g}"] = opinions, replace(OFF, quantile=quantile, agreeing=0.6)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--labels", nargs="*", default=[], metavar="LABEL=CLASS")
    asked = parser.parse_args()
    opinions, files, classes = read(asked.table)
    truth = truth_of(asked.metadata, files, dict(text.split("=") for text in asked.labels), classes)
    if not (truth >= 0).any():
        parser.error(f"{asked.metadata} has none of the {len(files)} clips under a class of {', '.join(classes)}")
    numbers = opinions.numbers
    print("| filter |", " | ".join(classes), "| all | kept |")
    print("| --- " * (len(classes) + 3) + "|")
    for name, (seen, settings) in filters_of(opinions).items():
        kept = (refused(seen, settings, [KEPT] * len(files)) == KEPT) & (truth >= 0)
        parts = [kept & (numbers == number) for number in range(len(classes))]
        cells = [
            f"{100 * (truth == numbers)[own].mean():.1f} ({own.sum()})" if own.any() else "–" for own in [*parts, kept]
        ]
        print(f"| {name} |", " | ".join(cells), f"| {100 * kept.sum() / (truth >= 0).sum():.0f} % |")


if __name__ == "__main__":
    main()
