"""MELD (Poria et al., 2019), official split: `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv`.

Clips are `dia<D>_utt<U>` below folders whose names contain train, dev or test; audio must have been taken out of the
published videos.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from emotion2vec.corpora.lists.folders import AudioIndex, audio_files
from emotion2vec.corpora.named.annotations import (
    WHOLE,
    AnnotatedRow,
    KnownClasses,
    annotated_corpus,
    annotation_files,
    annotation_rows,
    check_numbers,
    numbered_turns,
)
from emotion2vec.corpora.utterance import Corpus

CLASSES = {name: name for name in ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")}
CLIPS = 13708
FILES = {"train": "train_sent_emo.csv", "valid": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
FOLDERS = {"train": ("train",), "valid": ("dev", "valid"), "test": ("test",)}


def read_classes(root: Path) -> Corpus:
    """The seven classes."""
    audio = audio_files(root, doubles=False)
    rows: list[AnnotatedRow] = []
    classes = KnownClasses("MELD", CLASSES)
    for split, file in FILES.items():
        in_split = audio_of(root, audio, split)
        for row in annotation_rows(annotation_files(root, file, "MELD")[0], COLUMNS):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            if label := classes.of(row["Emotion"]):
                facts = {"label": label, "speaker": row["Speaker"], "text": row["Utterance"], "split": split}
                rows.append((f"{split}/{name}", in_split.find(name), facts))
    return annotated_corpus("meld", "MELD", root, rows, expected=CLIPS, warnings=classes.warnings())


def audio_of(root: Path, audio: Iterable[Path], split: str) -> AudioIndex:
    """The audio of a split of MELD by its stem: what lies below folders of that name."""
    words = FOLDERS[split]
    in_split = (
        path
        for path in audio
        if any(word in part.lower() for part in path.relative_to(root).parts[:-1] for word in words)
        and not path.stem.startswith("final_videos")
    )
    return AudioIndex(root, in_split)


def read_all(root: Path) -> Corpus:
    """Every utterance, dialogues and turns by `Dialogue_ID` and `Utterance_ID`."""
    audio = audio_files(root, doubles=False)
    found: list[AnnotatedRow] = []
    for split, file in FILES.items():
        in_split = audio_of(root, audio, split)
        path = annotation_files(root, file, "MELD")[0]
        listed = annotation_rows(path, COLUMNS)
        check_numbers(path, listed, ("Dialogue_ID", "Utterance_ID"), WHOLE)
        listed.sort(key=lambda row: (int(row["Dialogue_ID"]), int(row["Utterance_ID"])))
        for dialogue, rows in groupby(listed, key=lambda row: row["Dialogue_ID"]):
            for turn, row in numbered_turns(list(rows), lambda row: row["Speaker"]):
                name = f"dia{dialogue}_utt{row['Utterance_ID']}"
                facts = {
                    "label": CLASSES.get(row["Emotion"].lower()),
                    "speaker": row["Speaker"],
                    "text": row["Utterance"],
                    "split": split,
                    "dialogue": f"{split} {dialogue}",
                    "turn": turn,
                }
                found.append((f"{split}/{name}", in_split.find(name), facts))
    return annotated_corpus("meld", "MELD", root, found, what="utterances")
