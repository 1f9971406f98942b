"""Corpora whose labels stand in annotation files: IEMOCAP, MELD, MSP-Podcast, CMU-MOSI and CMU-MOSEI."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from emotion2vec.errors import ManifestError
from emotion2vec.probe.corpora import Clip, ClipSet, audio_files, examples

Row = tuple[str, Path | None, dict[str, str | None]]
"""A clip's name in the annotation, its audio if it was found, and its fields."""

IEMOCAP_CLASSES = {"neu": "neutral", "hap": "happiness", "exc": "happiness", "ang": "anger", "sad": "sadness"}
IEMOCAP_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\w+)\t(\w{3})\t\[[\d., ]+\]")
IEMOCAP_CLIPS = 5531
MELD_FILES = {"train": "train_sent_emo.csv", "valid": "dev_sent_emo.csv", "test": "test_sent_emo.csv"}
MELD_FOLDERS = {"train": ("train",), "valid": ("dev", "valid"), "test": ("test",)}
MSP_CLASSES = {
    "A": "anger",
    "S": "sadness",
    "H": "happiness",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
}
MSP_SPLITS = {"train": "train", "development": "valid", "test1": "test"}


def read_iemocap(root: Path) -> ClipSet:
    """IEMOCAP, four classes with excited as happiness: `Session*/dialog/EmoEvaluation/*.txt` (Busso et al., 2008).

    A speaker is a session's woman or man, `Ses01F` to `Ses05M`, taken from the end of the utterance's name.
    """
    labels = {}
    for path in _annotations(root, "EmoEvaluation/*.txt", "IEMOCAP"):
        for name, code in IEMOCAP_LINE.findall(_text(path)):
            labels[name] = IEMOCAP_CLASSES.get(code)
    audio = {path.stem: path for path in audio_files(root)}
    rows: list[Row] = [
        (
            name,
            audio.get(name),
            {
                "label": label,
                "speaker": f"{name[:5]}{name.rpartition('_')[2][0]}",
                "gender": "female" if name.rpartition("_")[2].startswith("F") else "male",
                "session": name[3:5],
            },
        )
        for name, label in sorted(labels.items())
        if label is not None
    ]
    return _clipset("iemocap", "IEMOCAP", root, rows, IEMOCAP_CLIPS)


def read_meld(root: Path) -> ClipSet:
    """MELD, official split: `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv` (Poria et al., 2019).

    Clips are `dia<D>_utt<U>` below folders whose names contain train, dev or test; audio must have been taken out of
    the published videos.
    """
    audio = audio_files(root)
    rows: list[Row] = []
    for split, file in MELD_FILES.items():
        in_split = {
            path.stem: path
            for path in audio
            if any(word in part.lower() for part in path.relative_to(root).parts[:-1] for word in MELD_FOLDERS[split])
            and not path.stem.startswith("final_videos")
        }
        for row in _csv_rows(_annotations(root, file, "MELD")[0], ("Utterance", "Speaker", "Emotion", "Dialogue_ID")):
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            facts: dict[str, str | None] = {
                "label": row["Emotion"],
                "speaker": row["Speaker"],
                "text": row["Utterance"],
                "split": split,
            }
            rows.append((f"{split}/{name}", in_split.get(name), facts))
    return _clipset("meld", "MELD", root, rows, None)


def read_msp_podcast(root: Path) -> ClipSet:
    """MSP-Podcast: `labels_consensus.csv`, partitions Train, Development and Test1 (Lotfian and Busso, 2019).

    Utterances without agreement (X) and of other classes (O) have no label of the eight classes; Test2 is not used.
    """
    audio = {path.stem: path for path in audio_files(root)}
    path = _annotations(root, "labels_consensus.csv", "MSP-Podcast")[0]
    rows: list[Row] = []
    for row in _csv_rows(path, ("FileName", "EmoClass", "SpkrID", "Split_Set")):
        split = MSP_SPLITS.get(row["Split_Set"].lower())
        label = MSP_CLASSES.get(row["EmoClass"].upper())
        if split and label:
            speaker = None if row["SpkrID"].lower() == "unknown" else row["SpkrID"]
            facts = {
                "label": label,
                "speaker": speaker,
                "gender": row.get("Gender", "").lower() or None,
                "split": split,
            }
            rows.append((row["FileName"], audio.get(Path(row["FileName"]).stem), facts))
    return _clipset("msp-podcast", "MSP-Podcast", root, rows, None)


def read_sentiment(name: str, title: str) -> Callable[[Path], ClipSet]:
    """CMU-MOSI and CMU-MOSEI with `label.csv` (video_id, clip_id, text, label, mode): negative against positive.

    Neutral clips, whose label is 0, are left out; clips are `<video_id>/<clip_id>` and speakers are videos.
    """

    def read(root: Path) -> ClipSet:
        audio = {f"{path.parent.name}/{path.stem}": path for path in audio_files(root)}
        rows: list[Row] = []
        path = _annotations(root, "label.csv", title)[0]
        for row in _csv_rows(path, ("video_id", "clip_id", "text", "label", "mode")):
            if (value := float(row["label"])) != 0:
                facts: dict[str, str | None] = {
                    "label": "positive" if value > 0 else "negative",
                    "speaker": row["video_id"],
                    "text": row["text"],
                    "split": row["mode"],
                }
                key = f"{row['video_id']}/{row['clip_id']}"
                rows.append((key, audio.get(key), facts))
        return _clipset(name, title, root, rows, None)

    return read


ANNOTATED: dict[str, Callable[[Path], ClipSet]] = {
    "iemocap": read_iemocap,
    "meld": read_meld,
    "msp-podcast": read_msp_podcast,
    "mosi": read_sentiment("mosi", "CMU-MOSI"),
    "mosei": read_sentiment("mosei", "CMU-MOSEI"),
}
"""Readers by the name that `--dataset` takes."""


def _annotations(root: Path, pattern: str, title: str) -> list[Path]:
    found = sorted(path for path in root.rglob(pattern) if not path.name.startswith("."))
    if not found:
        raise ManifestError(
            f"root {root}: found no {pattern} and {len(audio_files(root))} audio files, expected the folder of {title}"
        )
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be opened: {error.strerror}") from error


def _csv_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_text(path).removeprefix("\ufeff").splitlines()))
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise ManifestError(f"{path}: has {len(rows)} rows and no column {', '.join(missing)}")
    return [{key: (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in rows]


def _clipset(
    name: str,
    title: str,
    root: Path,
    rows: list[Row],
    expected: int | None,
) -> ClipSet:
    """Clips of the rows whose audio exists; the others are named as left out."""
    clips = tuple(
        Clip(file=path.relative_to(root).as_posix(), path=path, **facts)  # type: ignore[arg-type]
        for _, path, facts in rows
        if path is not None
    )
    absent = {key: f"no audio of that name below {root}" for key, path, _ in rows if path is None}
    if not clips:
        raise ManifestError(
            f"root {root}: {title} lists {len(rows)} clips with a label, and audio of none was found, such as "
            f"{examples(absent)}"
        )
    warnings = []
    if expected is not None and len(rows) != expected:
        warnings.append(f"{root} lists {len(rows)} clips of {title}, expected {expected}")
    return ClipSet(name=name, root=root, clips=clips, left_out=absent, warnings=tuple(warnings))
