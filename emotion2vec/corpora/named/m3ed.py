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
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, "annotation.json", "M3ED")[0]
    splits = {
        series: split
        for split, file in LISTS.items()
        for found in sorted(root.rglob(file))
        for series in annotation_text(found).split()
    }
    classes = KnownClasses("M3ED", CLASSES)
    rows: list[AnnotatedRow] = []
    try:
        for series, dialogues in parse_json(annotation_text(path).encode(), MOST_ANNOTATIONS).items():
            for dialogue in dialogues.values():
                for name, turn in dialogue["Dialog"].items():
                    part = turn["Speaker"]
                    facts = {
                        "label": classes.of(turn["EmoAnnotation"]["final_main_emo"]),
                        "speaker": f"{series} {dialogue['SpeakerInfo'][part]['Name']}",
                        "session": series,
                        "text": turn["Text"],
                        "split": splits.get(series),
                    }
                    if facts["label"]:
                        rows.append((f"{part}_{name}", audio.find(f"{part}_{name}"), facts))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ManifestError(f"{path}: cannot be read as M3ED's annotation: {type(error).__name__}: {error}") from error
    return annotated_corpus("m3ed", "M3ED", root, rows, expected=CLIPS, warnings=classes.warnings())
