"""MSP-Podcast (Lotfian and Busso, 2019): `labels_consensus.csv`, partitions Train, Development and Test1.

Test2 is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emotion2vec.corpora.lists.folders import AudioIndex, audio_files
from emotion2vec.corpora.named.annotations import (
    DECIMAL_OR_EMPTY,
    AnnotatedRow,
    KnownClasses,
    annotated_corpus,
    annotation_files,
    annotation_rows,
    check_numbers,
)
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus

FILE = "labels_consensus.csv"
CLASSES = {
    "a": "anger",
    "s": "sadness",
    "h": "happiness",
    "u": "surprise",
    "f": "fear",
    "d": "disgust",
    "c": "contempt",
    "n": "neutral",
}
SPLITS = {"train": "train", "development": "valid", "validation": "valid", "test1": "test"}
VALUES = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}


def read_classes(root: Path) -> Corpus:
    """The eight classes; utterances without agreement (X) and of other classes (O) have none of them."""
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, FILE, "MSP-Podcast")[0]
    classes, splits = KnownClasses("MSP-Podcast", CLASSES), KnownClasses("MSP-Podcast", SPLITS, "partitions")
    rows: list[AnnotatedRow] = []
    for row in annotation_rows(path, ("FileName", "EmoClass", "SpkrID", "Split_Set")):
        split = splits.of(row["Split_Set"])
        label = classes.of(row["EmoClass"]) if split else None
        if split and label:
            facts = {"label": label, **_facts(row), "split": split}
            rows.append((row["FileName"], audio.find(stem(row["FileName"])), facts))
    return annotated_corpus(
        "msp-podcast", "MSP-Podcast", root, rows, warnings=[*splits.warnings(), *classes.warnings()]
    )


def read_all(root: Path) -> Corpus:
    """Every utterance, with values from 1 to 7."""
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, FILE, "MSP-Podcast")[0]
    rows: list[AnnotatedRow] = []
    listed = annotation_rows(path, ("FileName", "EmoClass", *VALUES, "SpkrID", "Split_Set"))
    check_numbers(path, listed, VALUES, DECIMAL_OR_EMPTY)
    for row in listed:
        if split := SPLITS.get(row["Split_Set"].lower()):
            values = {target: float(row[column]) for column, target in VALUES.items() if row[column]}
            facts = {"label": CLASSES.get(row["EmoClass"].lower()), **_facts(row), "split": split, "values": values}
            rows.append((row["FileName"], audio.find(stem(row["FileName"])), facts))
    return annotated_corpus("msp-podcast", "MSP-Podcast", root, rows, what="utterances")


def _facts(row: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "speaker": None if row["SpkrID"].lower() == "unknown" else row["SpkrID"],
        "gender": row.get("Gender", "").lower() or None,
    }
