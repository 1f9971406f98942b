"""Corpora whose labels stand in annotation files: IEMOCAP, MELD, M3ED, MSP-Podcast, CMU-MOSI and CMU-MOSEI."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import AudioIndex, audio_files, found_below
from emotion2vec.corpora.named.annotations import annotation_files, annotation_rows, annotation_text
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ManifestError

Row = tuple[str, Path | str, Mapping[str, str | None]]
"""A clip's name in the annotation, its audio or why there is none, and its fields."""

IEMOCAP_CLASSES = {"neu": "neutral", "hap": "happiness", "exc": "happiness", "ang": "anger", "sad": "sadness"}
IEMOCAP_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\w+)\t(\w{3})\t\[[\d., ]+\]")
IEMOCAP_SAID = re.compile(r"(Ses\w+) \[[\d.]+-[\d.]+\]: *(.*)")
IEMOCAP_NAME = re.compile(r"(Ses(\d\d))[FM]_.+_([FM])\d+")
IEMOCAP_CLIPS = 5531
MELD_CLASSES = {name: name for name in ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")}
MELD_CLIPS = 13708
MELD_FILES = {"train": "train_sent_emo.csv", "valid": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
MELD_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
MELD_FOLDERS = {"train": ("train",), "valid": ("dev", "valid"), "test": ("test",)}
M3ED_CLASSES = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
M3ED_CLIPS = 24449
M3ED_LISTS = {"train": "movie_list_train.txt", "valid": "movie_list_val.txt", "test": "movie_list_test.txt"}
MOSI_CLIPS = 2199
MSP_CLASSES = {
    "a": "anger",
    "s": "sadness",
    "h": "happiness",
    "u": "surprise",
    "f": "fear",
    "d": "disgust",
    "c": "contempt",
    "n": "neutral",
}
MSP_SPLITS = {"train": "train", "development": "valid", "validation": "valid", "test1": "test"}


def read_iemocap(root: Path) -> Corpus:
    """IEMOCAP, four classes with excited as happiness: `Session*/dialog/EmoEvaluation/*.txt` (Busso et al., 2008)."""
    codes: dict[str, str] = {}
    for path in annotation_files(root, "EmoEvaluation/*.txt", "IEMOCAP"):
        codes.update(IEMOCAP_LINE.findall(annotation_text(path)))
    audio = AudioIndex(root, audio_files(root, doubles=False))
    texts = iemocap_texts(root)
    classes = _Classes("IEMOCAP", IEMOCAP_CLASSES)
    rows: list[Row] = [
        (name, audio.find(name), {"label": label, "text": texts.get(name), **(iemocap_facts(name) or {})})
        for name, code in sorted(codes.items())
        if (label := classes.of(code))
    ]
    return _as_corpus("iemocap", "IEMOCAP", root, rows, IEMOCAP_CLIPS, classes.warnings())


def iemocap_facts(name: str) -> dict[str, str] | None:
    """Who speaks: a session's woman or man, `Ses01F` to `Ses05M`, by the end of an utterance's name."""
    match = IEMOCAP_NAME.fullmatch(name)
    if match is None:
        return None
    recording, session, sex = match.groups()
    return {"speaker": recording + sex, "gender": "female" if sex == "F" else "male", "session": session}


def iemocap_texts(root: Path) -> dict[str, str]:
    """What is said in each utterance, by its name: `Session*/dialog/transcriptions/*.txt`, as far as they are there."""
    files = sorted(path for path in root.rglob("transcriptions/*.txt") if not path.name.startswith("."))
    said = (IEMOCAP_SAID.findall(annotation_text(path)) for path in files)
    return {name: text.strip() for lines in said for name, text in lines}


def read_meld(root: Path) -> Corpus:
    """MELD, official split: `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv` (Poria et al., 2019).

    Clips are `dia<D>_utt<U>` below folders whose names contain train, dev or test; audio must have been taken out of
    the published videos.
    """
    audio = audio_files(root, doubles=False)
    rows: list[Row] = []
    classes = _Classes("MELD", MELD_CLASSES)
    for split, file in MELD_FILES.items():
        in_split = meld_audio(root, audio, split)
        for row in annotation_rows(annotation_files(root, file, "MELD")[0], MELD_COLUMNS):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            if label := classes.of(row["Emotion"]):
                facts = {"label": label, "speaker": row["Speaker"], "text": row["Utterance"], "split": split}
                rows.append((f"{split}/{name}", in_split.find(name), facts))
    return _as_corpus("meld", "MELD", root, rows, MELD_CLIPS, classes.warnings())


def meld_audio(root: Path, audio: Iterable[Path], split: str) -> AudioIndex:
    """The audio of a split of MELD by its stem: what lies below folders of that name."""
    words = MELD_FOLDERS[split]
    in_split = (
        path
        for path in audio
        if any(word in part.lower() for part in path.relative_to(root).parts[:-1] for word in words)
        and not path.stem.startswith("final_videos")
    )
    return AudioIndex(root, in_split)


def read_m3ed(root: Path) -> Corpus:
    """M3ED, Mandarin TV dialogues: `annotation.json`, audio `<A or B>_<utterance>` (Zhao et al., ACL 2022).

    A speaker is a character of a series, a session is a series; `splitInfo/movie_list_*.txt` hold the official split.
    """
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, "annotation.json", "M3ED")[0]
    splits = {
        series: split
        for split, file in M3ED_LISTS.items()
        for found in sorted(root.rglob(file))
        for series in annotation_text(found).split()
    }
    classes = _Classes("M3ED", M3ED_CLASSES)
    rows: list[Row] = []
    try:
        for series, dialogues in json.loads(annotation_text(path)).items():
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
    return _as_corpus("m3ed", "M3ED", root, rows, M3ED_CLIPS, classes.warnings())


def read_msp_podcast(root: Path) -> Corpus:
    """MSP-Podcast: `labels_consensus.csv`, partitions Train, Development and Test1 (Lotfian and Busso, 2019).

    Utterances without agreement (X) and of other classes (O) have no label of the eight classes; Test2 is not used.
    """
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, "labels_consensus.csv", "MSP-Podcast")[0]
    classes, splits = _Classes("MSP-Podcast", MSP_CLASSES), _Classes("MSP-Podcast", MSP_SPLITS, "partitions")
    rows: list[Row] = []
    for row in annotation_rows(path, ("FileName", "EmoClass", "SpkrID", "Split_Set")):
        split = splits.of(row["Split_Set"])
        label = classes.of(row["EmoClass"]) if split else None
        if split and label:
            facts = {
                "label": label,
                "speaker": None if row["SpkrID"].lower() == "unknown" else row["SpkrID"],
                "gender": row.get("Gender", "").lower() or None,
                "split": split,
            }
            rows.append((row["FileName"], audio.find(stem(row["FileName"])), facts))
    return _as_corpus("msp-podcast", "MSP-Podcast", root, rows, None, [*splits.warnings(), *classes.warnings()])


def read_sentiment(name: str, title: str, expected: int | None) -> Callable[[Path], Corpus]:
    """CMU-MOSI and CMU-MOSEI with `label.csv` (video_id, clip_id, text, label, mode): negative against positive.

    Neutral clips, whose label is 0, are left out; clips are `<video_id>/<clip_id>` and speakers are videos.
    """

    def read(root: Path) -> Corpus:
        audio = AudioIndex(root, audio_files(root, doubles=False), lambda path: f"{path.parent.name}/{stem(path)}")
        rows: list[Row] = []
        faults, neutral = [], 0
        path = annotation_files(root, "label.csv", title)[0]
        listed = annotation_rows(path, ("video_id", "clip_id", "text", "label", "mode"))
        for row in listed:
            key = f"{row['video_id']}/{row['clip_id']}"
            try:
                value = float(row["label"])
            except ValueError:
                faults.append(f"{key} is {row['label']!r}")
                continue
            neutral += value == 0
            if value != 0:
                facts: dict[str, str | None] = {
                    "label": "positive" if value > 0 else "negative",
                    "speaker": row["video_id"],
                    "text": row["text"],
                    "split": row["mode"],
                }
                rows.append((key, audio.find(key), facts))
        if faults:
            raise ManifestError(f"{path}: {len(faults)} labels are no numbers: {examples(faults)}")
        warnings = [f"{neutral} neutral clips of {title} are left out, as usual"] if neutral else []
        if expected is not None and len(listed) != expected:
            warnings.append(f"{path} lists {len(listed)} clips of {title}, expected {expected}")
        return _as_corpus(name, title, root, rows, None, warnings)

    return read


ANNOTATED: dict[str, Callable[[Path], Corpus]] = {
    "iemocap": read_iemocap,
    "m3ed": read_m3ed,
    "meld": read_meld,
    "msp-podcast": read_msp_podcast,
    "mosi": read_sentiment("mosi", "CMU-MOSI", MOSI_CLIPS),
    "mosei": read_sentiment("mosei", "CMU-MOSEI", None),
}
"""Readers by the name that `--dataset` takes."""


class _Classes:
    """The classes of a corpus, and how often others were met, which are left out and told."""

    def __init__(self, title: str, meanings: Mapping[str, str], kind: str = "classes"):
        self._title = title
        self._meanings = meanings
        self._kind = kind
        self._others: Counter[str] = Counter()

    def of(self, code: Any) -> str | None:
        """The class of a code, whatever its case, or None."""
        found = self._meanings.get(str(code).lower())
        if found is None:
            self._others[str(code) or "none"] += 1
        return found

    def warnings(self) -> list[str]:
        if not self._others:
            return []
        counts = examples([f"{code} ({count})" for code, count in self._others.most_common()])
        return [f"{self._others.total()} clips of {self._title} are of other {self._kind} and are left out: {counts}"]


def _as_corpus(
    name: str,
    title: str,
    root: Path,
    rows: list[Row],
    expected: int | None,
    warnings: Iterable[str],
) -> Corpus:
    """Clips of the rows whose audio exists; the others are named as left out."""
    clips = tuple(found_below(root, path, **facts) for _, path, facts in rows if isinstance(path, Path))
    absent = {key: path for key, path, _ in rows if isinstance(path, str)}
    if not clips:
        raise ManifestError(
            f"root {root}: {title} lists {len(rows)} clips with a label, and audio of none was found, such as "
            f"{examples(absent)}"
        )
    odd = list(warnings)
    if expected is not None and len(rows) != expected:
        odd.append(f"{root} lists {len(rows)} clips of {title}, expected {expected}")
    return Corpus(name=name, root=root, utterances=clips, left_out=absent, warnings=tuple(odd))
