"""M3ED, Mandarin TV dialogues (Zhao et al., ACL 2022): `annotation.json`, audio `<A or B>_<utterance>`.

A speaker is a character of a series, a session is a series; `splitInfo/movie_list_*.txt` hold the official split.
"""

from __future__ import annotations

from pathlib import Path

from emotion2vec.corpora.lists.folders import AudioIndex, audio_files
from emotion2vec.corpora.named.annotations import (
    AnnotatedRow,
    KnownClasses,
    annotated_corpus,
    annotation_files,
    annotation_text,
    numbered_turns,
)
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.documents import MOST_ANNOTATIONS, parse_json
from emotion2vec.errors import ManifestError

CLASSES = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
CLIPS = 24449
LISTS = {"train": "movie_list_train.txt", "valid": "movie_list_val.txt", "test": "movie_list_test.txt"}


def read_classes(root: Path) -> Corpus:
    """The seven classes."""
    classes = KnownClasses("M3ED", CLASSES)
    rows = [row for row in _rows(root, classes) if row[2]["label"]]
    return annotated_corpus("m3ed", "M3ED", root, rows, expected=CLIPS, warnings=classes.warnings())


def read_all(root: Path) -> Corpus:
    """Every utterance, dialogues and turns in the order of the utterances' numbers; turns change with the part."""
    return annotated_corpus("m3ed", "M3ED", root, _rows(root, KnownClasses("M3ED", CLASSES)), what="utterances")


def _rows(root: Path, classes: KnownClasses) -> list[AnnotatedRow]:
    """All utterances with what is known of them.

    Raises:
        ManifestError: there is no annotation, or it is none of M3ED.
    """
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, "annotation.json", "M3ED")[0]
    splits = {
        series: split
        for split, file in LISTS.items()
        for found in sorted(root.rglob(file))
        for series in annotation_text(found).split()
    }
    rows: list[AnnotatedRow] = []
    try:
        for series, dialogues in parse_json(annotation_text(path).encode(), MOST_ANNOTATIONS).items():
            for number, dialogue in dialogues.items():
                told = sorted(dialogue["Dialog"].items(), key=lambda item: _place(item[0]))
                for place, (name, turn) in numbered_turns(told, lambda item: item[1]["Speaker"]):
                    part = turn["Speaker"]
                    facts = {
                        "label": classes.of(turn["EmoAnnotation"]["final_main_emo"]),
                        "speaker": f"{series} {dialogue['SpeakerInfo'][part]['Name']}",
                        "session": series,
                        "text": turn["Text"],
                        "split": splits.get(series),
                        "dialogue": number,
                        "turn": place,
                    }
                    rows.append((f"{part}_{name}", audio.find(f"{part}_{name}"), facts))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ManifestError(f"{path}: cannot be read as M3ED's annotation: {type(error).__name__}: {error}") from error
    return rows


def _place(name: str) -> int:
    """The number that the name of an utterance ends in, its place in the dialogue; 0 where there is none."""
    number = name.rpartition("_")[2]
    return int(number) if number.isdecimal() else 0
