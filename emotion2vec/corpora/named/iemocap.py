"""IEMOCAP (Busso et al., 2008): `Session*/dialog/EmoEvaluation/*.txt`, transcriptions beside them."""

from __future__ import annotations

import re
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

CLASSES = {"neu": "neutral", "hap": "happiness", "exc": "happiness", "ang": "anger", "sad": "sadness"}
LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\w+)\t(\w{3})\t\[[\d., ]+\]")
SAID = re.compile(r"(Ses\w+) \[[\d.]+-[\d.]+\]: *(.*)")
NAME = re.compile(r"(Ses(\d\d))[FM]_.+_([FM])\d+")
CLIPS = 5531
SPOKEN = {"language": "en"}
TURN = re.compile(
    r"\[(?P<start>[\d.]+) - [\d.]+\]\t(?P<name>\w+)\t(?P<code>\w{3})"
    r"\t\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]"
)
UTTERANCES = 10_039
VALUES = ("arousal", "valence", "dominance")


def read_classes(root: Path) -> Corpus:
    """The four classes, with excited as happiness."""
    codes: dict[str, str] = {}
    for path in annotation_files(root, "EmoEvaluation/*.txt", "IEMOCAP"):
        codes.update(LINE.findall(annotation_text(path)))
    audio = AudioIndex(root, audio_files(root, doubles=False))
    texts = texts_of(root)
    classes = KnownClasses("IEMOCAP", CLASSES)
    rows: list[AnnotatedRow] = [
        (name, audio.find(name), {"label": label, "text": texts.get(name), **SPOKEN, **(facts_of(name) or {})})
        for name, code in sorted(codes.items())
        if (label := classes.of(code))
    ]
    return annotated_corpus("iemocap", "IEMOCAP", root, rows, expected=CLIPS, warnings=classes.warnings())


def facts_of(name: str) -> dict[str, str] | None:
    """Who speaks: a session's woman or man, `Ses01F` to `Ses05M`, by the end of an utterance's name."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    recording, session, sex = match.groups()
    return {"speaker": recording + sex, "gender": "female" if sex == "F" else "male", "session": session}


def texts_of(root: Path) -> dict[str, str]:
    """What is said in each utterance, by its name: `Session*/dialog/transcriptions/*.txt`, as far as they are there."""
    files = sorted(path for path in root.rglob("transcriptions/*.txt") if not path.name.startswith("."))
    said = (SAID.findall(annotation_text(path)) for path in files)
    return {name: text.strip() for lines in said for name, text in lines}


def read_all(root: Path) -> Corpus:
    """Every utterance, with values from 1 to 5; a dialogue is a file of evaluations, in the order of their starts."""
    audio = AudioIndex(root, audio_files(root, doubles=False))
    texts = texts_of(root)
    rows: list[AnnotatedRow] = []
    for path in annotation_files(root, "EmoEvaluation/*.txt", "IEMOCAP"):
        turns = sorted(TURN.finditer(annotation_text(path)), key=lambda match: float(match["start"]))
        for turn, match in numbered_turns(turns, lambda match: match["name"].rpartition("_")[2][0]):
            name = match["name"]
            facts = {
                "label": CLASSES.get(match["code"]),
                "text": texts.get(name),
                **SPOKEN,
                **(facts_of(name) or {}),
                "values": {target: float(match[target]) for target in VALUES},
                "dialogue": path.stem,
                "turn": turn,
            }
            rows.append((name, audio.find(name), facts))
    return annotated_corpus("iemocap", "IEMOCAP", root, rows, what="utterances", expected=UTTERANCES)
