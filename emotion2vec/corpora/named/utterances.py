"""Every utterance of the corpora that know more than classes: values such as arousal, and the place in a conversation.

The readers of classes list only utterances with a usable class; these list all, with an empty label for the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import AudioIndex, audio_files, found_below
from emotion2vec.corpora.named.annotated import (
    IEMOCAP_CLASSES,
    MELD_CLASSES,
    MELD_COLUMNS,
    MELD_FILES,
    MSP_CLASSES,
    MSP_SPLITS,
    iemocap_facts,
    iemocap_texts,
    meld_audio,
)
from emotion2vec.corpora.named.annotations import (
    DECIMAL_OR_EMPTY,
    WHOLE,
    annotation_files,
    annotation_rows,
    annotation_text,
    check_numbers,
)
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError

Row = TypeVar("Row")

IEMOCAP_TURN = re.compile(
    r"\[(?P<start>[\d.]+) - [\d.]+\]\t(?P<name>\w+)\t(?P<code>\w{3})"
    r"\t\[(?P<valence>[\d.]+), (?P<arousal>[\d.]+), (?P<dominance>[\d.]+)\]"
)
IEMOCAP_UTTERANCES = 10_039
MSP_VALUES = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A corpus whose every utterance can be read: how, and what it knows."""

    read: Callable[[Path], Corpus]
    targets: tuple[str, ...] = ()
    conversations: bool = False


def read_utterances(name: str, root: str | Path, *, targets: Sequence[str] = (), conversations: bool = False) -> Corpus:
    """Read all utterances of a named corpus.

    Args:
        name: of the corpus.
        root: its folder.
        targets: values that are wanted.
        conversations: dialogues and turns are wanted.

    Raises:
        ConfigError: the corpus is not known to have what is wanted.
        ManifestError: the folder is missing or is not that corpus.
    """
    kind = UTTERANCES.get(name)
    if conversations and (kind is None or not kind.conversations):
        known = ", ".join(key for key, item in UTTERANCES.items() if item.conversations)
        raise ConfigError(f"dataset {name} has no dialogues that we know of, expected one of {known}, or a table")
    if lacking := sorted(set(targets) - set(kind.targets if kind else ())):
        known = "; ".join(f"{key}: {', '.join(item.targets)}" for key, item in UTTERANCES.items() if item.targets)
        raise ConfigError(f"dataset {name} has no values of {examples(lacking)}, expected one of {known}; or a table")
    assert kind is not None, "something is wanted"
    if not Path(root).is_dir():
        raise ManifestError(f"root {root}: no such folder, expected that of {name}")
    return kind.read(Path(root))


def read_iemocap_utterances(root: Path) -> Corpus:
    """IEMOCAP: `Session*/dialog/EmoEvaluation/*.txt`, values from 1 to 5 (Busso et al., 2008).

    A dialogue is a file of evaluations; its utterances are ordered by their start.
    """
    audio = AudioIndex(root, audio_files(root, doubles=False))
    texts = iemocap_texts(root)
    clips, absent, count = [], {}, 0
    for path in annotation_files(root, "EmoEvaluation/*.txt", "IEMOCAP"):
        turns = sorted(IEMOCAP_TURN.finditer(annotation_text(path)), key=lambda match: float(match["start"]))
        for turn, match in _numbered(turns, lambda match: match["name"].rpartition("_")[2][0]):
            count += 1
            name = match["name"]
            found = audio.find(name)
            if isinstance(found, str):
                absent[name] = found
                continue
            clips.append(
                found_below(
                    root,
                    found,
                    label=IEMOCAP_CLASSES.get(match["code"]),
                    text=texts.get(name),
                    **(iemocap_facts(name) or {}),
                    values={target: float(match[target]) for target in ("arousal", "valence", "dominance")},
                    dialogue=path.stem,
                    turn=turn,
                )
            )
    return _as_corpus("iemocap", "IEMOCAP", root, clips, absent, count, IEMOCAP_UTTERANCES)


def read_msp_utterances(root: Path) -> Corpus:
    """MSP-Podcast: `labels_consensus.csv`, values from 1 to 7 (Lotfian and Busso, 2019); Test2 is not used."""
    audio = AudioIndex(root, audio_files(root, doubles=False))
    path = annotation_files(root, "labels_consensus.csv", "MSP-Podcast")[0]
    clips, absent, count = [], {}, 0
    rows = annotation_rows(path, ("FileName", "EmoClass", *MSP_VALUES, "SpkrID", "Split_Set"))
    check_numbers(path, rows, MSP_VALUES, DECIMAL_OR_EMPTY)
    for row in rows:
        split = MSP_SPLITS.get(row["Split_Set"].lower())
        if split is None:
            continue
        count += 1
        found = audio.find(stem(row["FileName"]))
        if isinstance(found, str):
            absent[row["FileName"]] = found
            continue
        clips.append(
            found_below(
                root,
                found,
                label=MSP_CLASSES.get(row["EmoClass"].lower()),
                speaker=None if row["SpkrID"].lower() == "unknown" else row["SpkrID"],
                gender=row.get("Gender", "").lower() or None,
                split=split,
                values={target: float(row[column]) for column, target in MSP_VALUES.items() if row[column]},
            )
        )
    return _as_corpus("msp-podcast", "MSP-Podcast", root, clips, absent, count, None)


def read_meld_utterances(root: Path) -> Corpus:
    """MELD, official split, dialogues and turns by `Dialogue_ID` and `Utterance_ID` (Poria et al., 2019)."""
    audio = audio_files(root, doubles=False)
    clips, absent, count = [], {}, 0
    for split, file in MELD_FILES.items():
        in_split = meld_audio(root, audio, split)
        path = annotation_files(root, file, "MELD")[0]
        listed = annotation_rows(path, MELD_COLUMNS)
        check_numbers(path, listed, ("Dialogue_ID", "Utterance_ID"), WHOLE)
        listed.sort(key=lambda row: (int(row["Dialogue_ID"]), int(row["Utterance_ID"])))
        for dialogue, rows in groupby(listed, key=lambda row: row["Dialogue_ID"]):
            for turn, row in _numbered(list(rows), lambda row: row["Speaker"]):
                count += 1
                name = f"dia{dialogue}_utt{row['Utterance_ID']}"
                found = in_split.find(name)
                if isinstance(found, str):
                    absent[f"{split}/{name}"] = found
                    continue
                clips.append(
                    found_below(
                        root,
                        found,
                        label=MELD_CLASSES.get(row["Emotion"].lower()),
                        speaker=row["Speaker"],
                        text=row["Utterance"],
                        split=split,
                        dialogue=f"{split} {dialogue}",
                        turn=turn,
                    )
                )
    return _as_corpus("meld", "MELD", root, clips, absent, count, None)


UTTERANCES = {
    "iemocap": Kind(read=read_iemocap_utterances, targets=("arousal", "valence", "dominance"), conversations=True),
    "msp-podcast": Kind(read=read_msp_utterances, targets=("arousal", "valence", "dominance")),
    "meld": Kind(read=read_meld_utterances, conversations=True),
}
"""Corpora by the name that `--dataset` takes."""


def _numbered(rows: Sequence[Row], speaker: Callable[[Row], str]) -> Iterable[tuple[int, Row]]:
    """Number the turns of a dialogue, whose rows are in order: utterances of one speaker in a row are one turn."""
    for turn, (_, group) in enumerate(groupby(rows, key=speaker)):
        yield from ((turn, row) for row in group)


def _as_corpus(
    name: str,
    title: str,
    root: Path,
    clips: Sequence[Utterance],
    absent: dict[str, str],
    count: int,
    expected: int | None,
) -> Corpus:
    if not clips:
        raise ManifestError(
            f"root {root}: {title} lists {count} utterances, and audio of none was found, such as {examples(absent)}"
        )
    warnings = []
    if expected is not None and count != expected:
        warnings.append(f"{root} lists {count} utterances of {title}, expected {expected}")
    return Corpus(name=name, root=root, utterances=tuple(clips), left_out=absent, warnings=tuple(warnings))
