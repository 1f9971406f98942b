"""CMU-MOSI and CMU-MOSEI with `label.csv` (video_id, clip_id, text, label, mode): negative against positive.

Neutral clips, whose label is 0, are left out; clips are `<video_id>/<clip_id>` and speakers are videos.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import AudioIndex, audio_files
from emotion2vec.corpora.named.annotations import (
    AnnotatedRow,
    annotated_corpus,
    annotation_files,
    annotation_rows,
)
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ManifestError
from emotion2vec.units import counted

MOSI_CLIPS = 2199


def reader(name: str, title: str, expected: int | None) -> Callable[[Path], Corpus]:
    """The reader of one of the two corpora, with the number of clips that its list should have."""

    def read(root: Path) -> Corpus:
        audio = AudioIndex(root, audio_files(root, doubles=False), lambda path: f"{path.parent.name}/{stem(path)}")
        rows: list[AnnotatedRow] = []
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
            warnings.append(f"{path} lists {counted(len(listed), 'clip')} of {title}, expected {expected}")
        return annotated_corpus(name, title, root, rows, warnings=warnings)

    return read
