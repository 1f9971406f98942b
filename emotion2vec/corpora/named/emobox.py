"""EmoBox's metadata (Ma et al., Interspeech 2024): lists of clips, label maps and folds, with the faults they have."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from emotion2vec.corpora.faults import Change, examples
from emotion2vec.corpora.lists.folders import audio_files, found_below
from emotion2vec.corpora.lists.jsonlines import json_object, json_row
from emotion2vec.corpora.lists.lines import read_lines
from emotion2vec.corpora.lists.locate import Locator
from emotion2vec.corpora.lists.rows import Row, collect
from emotion2vec.corpora.named.registry import facts_of_name, native_name
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.documents import read_json
from emotion2vec.errors import ManifestError

MAP_NAMES = ("label_map.json", "label_dict.json")
FOLD_FILE = re.compile(r".*_(?P<part>train|valid|test)_fold_?(?P<number>\d+)\.jsonl")


class EmoBoxRow(NamedTuple):
    """One row of EmoBox's.

    Attributes:
        key: by which folds know it.
        dataset: the corpus that it says it is of.
        row: what it states, as any list may.
    """

    key: str
    dataset: str | None
    row: Row


@dataclass
class _Findings:
    """What was repaired or left out, by what was wrong."""

    repaired: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def warnings(self) -> list[str]:
        return [f"EmoBox metadata: {what} ({count} times)" for what, count in sorted(self.repaired.items())]


def read_emobox(data: str | Path, audio_root: str | Path) -> Corpus:
    """Read one corpus of EmoBox's `data` folder.

    Rows name audio by `wav` or `audio`, with a root and an ending of their own: a clip is the audio file below
    `audio_root` that `emotion2vec.corpora.lists.locate` finds for it. Labels come as `emo` or
    `label`, and are mapped by `label_map.json` or `label_dict.json`, exactly or but for upper and lower case; a label
    that the map lacks keeps its own name. Speakers, which EmoBox does not list, come from the corpus's native reader
    where there is one. The same fold under two file names is read once.

    Args:
        data: folder of the corpus, such as `data/emodb`.
        audio_root: folder of its audio.

    Returns:
        The clips and their folds, for the scheme `emobox`; warnings say what was repaired.

    Raises:
        ManifestError: the folder is not one of EmoBox's, a line is no JSON, or no audio is found.
    """
    data, audio_root = Path(data), Path(audio_root)
    for folder, what in ((data, "a corpus of EmoBox, such as data/emodb"), (audio_root, "its audio")):
        if not folder.is_dir():
            raise ManifestError(f"{folder}: no such folder, expected {what}")
    findings = _Findings()
    rows = _read_rows(_list_file(data))
    labels = _label_map(data, findings)
    name = native_name(str(rows[0].dataset or data.name))
    clips, positions = _match(rows, labels, name, audio_root, findings)
    splits = _read_folds(data, rows, positions, findings)
    if not clips:
        raise ManifestError(
            f"{audio_root}: audio of none of the {len(rows)} clips of {data} was found, such as {rows[0].row.path}; "
            f"it holds {len(audio_files(audio_root, doubles=False))} audio files"
        )
    return Corpus(
        name=name,
        root=audio_root,
        utterances=tuple(clips),
        left_out=findings.left_out,
        warnings=tuple(findings.warnings()),
        changes=tuple(findings.changes),
        splits=splits,
    )


def _list_file(data: Path) -> Path:
    listed = sorted(data.glob("*.jsonl"))
    if not listed:
        raise ManifestError(f"{data}: found no .jsonl file, expected a corpus of EmoBox, such as data/emodb")
    return next((path for path in listed if path.stem == data.name), listed[0])


def _read_rows(path: Path) -> list[EmoBoxRow]:
    """Rows of a JSON Lines file; all lines that are none are named at once."""
    lines, unreadable = read_lines(path)
    rows, faults = collect(path, lines, _row)
    if unreadable or faults or not rows:
        told = examples(fault.in_list for fault in [*unreadable, *faults])
        raise ManifestError(f"{path}: {told or 'it is empty'}")
    return rows


def _row(number: int, line: str) -> EmoBoxRow:
    """One row; where it lists no path, the name is in its key."""
    record = json_object(line)
    if not record.get("key"):
        raise ValueError("expected an object with a key")
    key, dataset = str(record["key"]), record.get("dataset")
    path = record.get("wav") or record.get("audio") or key.removeprefix(f"{dataset}-")
    return EmoBoxRow(key, dataset, json_row(number, {**record, "wav": path}))


def _label_map(data: Path, findings: _Findings) -> dict[str, str]:
    path = next((data / name for name in MAP_NAMES if (data / name).is_file()), None)
    if path is None:
        findings.repaired[f"no {' or '.join(MAP_NAMES)}, so labels keep their names"] += 1
        return {}
    try:
        found = read_json(path)
    except ValueError as error:
        raise ManifestError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ManifestError(f"{path}: holds a {type(found).__name__}, expected an object of labels and their names")
    return {str(key): str(value) for key, value in found.items()}


def _label(raw: str, labels: dict[str, str], findings: _Findings) -> str | None:
    if not raw or raw in labels:
        return labels.get(raw)
    for key, label in labels.items():
        if key.lower() == raw.lower():
            findings.repaired[f"label {raw!r} is {key!r} in the label map"] += 1
            return label
    if labels:
        findings.repaired[f"label {raw!r} is not in the label map and keeps its name"] += 1
    return raw.capitalize()


def _match(
    rows: list[EmoBoxRow], labels: dict[str, str], name: str, root: Path, findings: _Findings
) -> tuple[list[Utterance], dict[str, int]]:
    """Clips of the rows whose audio and label are there, and their positions by key."""
    root = Path(os.path.abspath(root))
    locator = Locator(root, lambda: audio_files(root, doubles=False))
    clips: list[Utterance] = []
    positions: dict[str, int] = {}
    owners: dict[Path, str] = {}
    for key, _, row in rows:
        if key in positions or key in findings.left_out:
            findings.repaired["key listed twice, taken once"] += 1
            continue
        place = locator.find(row.path)
        label = _label(row.facts.get("label", ""), labels, findings)
        if isinstance(place, str) or label is None:
            findings.left_out[key] = "no label" if label is None else str(place)
            continue
        found = place.path
        if found in owners:
            findings.left_out[key] = f"{row.path!r} is {found}, as that of {owners[found]} is already"
            continue
        owners[found] = key
        if place.how is not None:
            findings.changes.append(Change(key, place.how, f"{row.path} is {found}"))
        if found.suffix != Path(row.path).suffix:
            findings.repaired[f"audio is {found.suffix} in place of {Path(row.path).suffix}"] += 1
        positions[key] = len(clips)
        facts = {**row.facts, **facts_of_name(name, found), "label": label}
        clips.append(replace(found_below(root, found, **facts), id=key))
    return clips, positions


def _read_folds(
    data: Path, rows: list[EmoBoxRow], positions: dict[str, int], findings: _Findings
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Folds by name, `fold_1` and on; of a fold under two names the one with an underscore before its number counts."""
    files: dict[tuple[int, str], list[Path]] = {}
    for path in sorted(data.rglob("*.jsonl")):
        if match := FOLD_FILE.fullmatch(path.name):
            files.setdefault((int(match["number"]), match["part"]), []).append(path)
    listed = {row.key for row in rows}
    splits: dict[str, dict[str, tuple[int, ...]]] = {}
    for (number, part), paths in sorted(files.items()):
        chosen = next((path for path in paths if f"_fold_{number}" in path.name), paths[0])
        keys = [row.key for row in _read_rows(chosen)]
        for other in paths:
            if other is not chosen:
                same = {row.key for row in _read_rows(other)} == set(keys)
                how = "with the same clips" if same else "with other clips"
                findings.repaired[f"a fold under two file names, {how}; {chosen.name} counts"] += 1
        if unknown := set(keys) - listed:
            findings.repaired[f"{chosen.name} names clips that the list lacks: {examples(sorted(unknown))}"] += 1
        found = tuple(sorted({positions[key] for key in keys if key in positions}))
        splits.setdefault(f"fold_{number}", {})[part] = found
    return splits
