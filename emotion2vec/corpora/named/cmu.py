"""CMU-MOSI and CMU-MOSEI: sentiment from −3 to 3 of clips of videos, as numbers or as negative against positive.

Both are read from `label.csv` (video_id, clip_id, text, label, mode), MOSI also as CMU released it: without a header,
`OpinionLevelSentiment.csv` (start, end, video, clip, sentiment) and `Transcript/Segmented/<video>.annotprocessed`.
Clips are `<video>/<clip>`, `<video>_<clip>` or, where times are known, stretches of `<video>`; speakers are videos.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.folders import AudioIndex, audio_files
from emotion2vec.corpora.named.annotations import (
    AnnotatedRow,
    annotated_corpus,
    annotation_files,
    annotation_rows,
    annotation_text,
)
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ManifestError
from emotion2vec.units import counted

MOSI_CLIPS = 2199
RELEASED = "OpinionLevelSentiment.csv"
VALUES = ("sentiment",)
MOST = 3.0
"""Largest sentiment, and less its sign the smallest."""

MOSI_VALID = (
    "WKA5OygbEKI c5xsKMxpXnc atnd_PF-Lbs bvLlb-M3UXU bOL9jKpeJRs _dI--eQ6qVU ZAIRrfG22O0 X3j2zQgwYgE aiEXnCPZubE "
    "ZUXBRvtny7o"
)
MOSI_TEST = (
    "tmZoasNr4rU zhpQhgha_KU lXPQBPVc5Cw iiK8YX8oH1E tStelxIAHjw nzpVDcQ0ywM etzxEpPuc6I cW1FSBF59ik d6hH302o4v8 "
    "k5Y_838nuGo pLTX3ipuDJI jUzDDGyPkXU f_pcplsH_V0 yvsjCA6Y5Fc nbWiPyCm4g0 rnaNMUZpvvg wMbj6ajWbic cM3Yna7AavY "
    "yDtzw_Y-7RU vyB00TXsimI dq3Nf_lMPnE phBUpBr1hSo d3_k5Xpfmik v0zCBqDeKcE tIrG4oNLFzE fvVhgmXxadc ob23OKe5a9Q "
    "cXypl4FnoZo vvZ4IcEtiZc f9O3YtZ2VfI c7UH_rxdZv4"
)
MOSI_SPLIT = dict.fromkeys(MOSI_VALID.split(), "valid") | dict.fromkeys(MOSI_TEST.split(), "test")
"""The standard split of CMU's toolkit by video; the other 52 of 93 train."""


Faults = dict[str, list[str]]
"""What is wrong with an annotation: where, by the kind of fault."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A clip of the annotation: its place, its sentiment, and what else is known of it."""

    video: str
    clip: str
    sentiment: float
    split: str
    text: str | None
    stretch: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SentimentCorpus:
    """One of the two corpora, which should have so many clips, if that is known."""

    name: str
    title: str
    expected: int | None = None

    def read_classes(self, root: Path) -> Corpus:
        """Negative against positive; neutral clips, whose sentiment is 0, are left out."""
        path, listed = self._listed(root)
        neutral = sum(row.sentiment == 0 for row in listed)
        told = f"{neutral} neutral clips of {self.title} are left out, as usual"
        kept = [row for row in listed if row.sentiment]
        return self._corpus(root, path, kept, len(listed), [told] if neutral else [])

    def read_all(self, root: Path) -> Corpus:
        """Every clip, with its sentiment as a value; neutral ones have no class."""
        path, listed = self._listed(root)
        return self._corpus(root, path, listed, len(listed), [], what="utterances")

    def _listed(self, root: Path) -> tuple[Path, list[Listed]]:
        """The annotation, and what it lists.

        Raises:
            ManifestError: there is none, or its sentiments and times are no numbers in their range.
        """
        released = self.name == "mosi" and not any(root.rglob("label.csv")) and any(root.rglob(RELEASED))
        path = annotation_files(root, RELEASED if released else "label.csv", self.title)[0]
        faults: Faults = {}
        listed = _released(path, root, faults) if released else _labels(path, faults)
        if faults:
            told = "; ".join(f"{len(found)} {kind}: {examples(found)}" for kind, found in faults.items())
            raise ManifestError(f"{path}: {told}")
        return path, listed

    def _corpus(
        self, root: Path, path: Path, rows: Sequence[Listed], listed: int, warnings: list[str], what: str = "clips"
    ) -> Corpus:
        find = _finder(root)
        found: list[AnnotatedRow] = []
        for row in rows:
            audio, stretch = find(row)
            facts = {
                "label": None if row.sentiment == 0 else "positive" if row.sentiment > 0 else "negative",
                "speaker": row.video,
                "text": row.text,
                "split": row.split,
                "values": {"sentiment": row.sentiment},
                **stretch,
            }
            found.append((f"{row.video}/{row.clip}", audio, facts))
        if self.expected is not None and listed != self.expected:
            warnings = [*warnings, f"{path} lists {counted(listed, 'clip')} of {self.title}, expected {self.expected}"]
        return annotated_corpus(self.name, self.title, root, found, what=what, warnings=warnings)


def _labels(path: Path, faults: Faults) -> list[Listed]:
    """The rows of `label.csv`."""
    found = []
    for row in annotation_rows(path, ("video_id", "clip_id", "text", "label", "mode")):
        if (sentiment := _sentiment(row["label"], f"{row['video_id']}/{row['clip_id']}", faults)) is not None:
            video, clip, text = row["video_id"], row["clip_id"], row["text"] or None
            found.append(Listed(video=video, clip=clip, sentiment=sentiment, split=row["mode"], text=text))
    return found


def _released(path: Path, root: Path, faults: Faults) -> list[Listed]:
    """The rows of MOSI's own list, with texts where they lie below the root."""
    texts = {
        (found.stem, number.strip()): text.strip()
        for found in sorted(root.rglob("*.annotprocessed"))
        for number, mark, text in (line.partition("_DELIM_") for line in annotation_text(found).splitlines())
        if mark
    }
    listed = []
    for number, cells in enumerate(csv.reader(annotation_text(path).splitlines()), 1):
        if len(cells) != 5:
            kind = "rows are not start, end, video, clip and sentiment"
            faults.setdefault(kind, []).append(f"row {number} has {counted(len(cells), 'cell')}")
            continue
        start, end, video, clip, label = (cell.strip() for cell in cells)
        times = [_number(start), _number(end)]
        if not 0 <= times[0] < times[1] < math.inf:
            kind = "clips are no stretches of time"
            faults.setdefault(kind, []).append(f"{video}/{clip} is from {start!r} to {end!r}")
        elif (sentiment := _sentiment(label, f"{video}/{clip}", faults)) is not None:
            stretch = {"start": times[0], "duration": round(times[1] - times[0], 6)}
            split, text = MOSI_SPLIT.get(video, "train"), texts.get((video, clip))
            known = Listed(video=video, clip=clip, sentiment=sentiment, split=split, text=text, stretch=stretch)
            listed.append(known)
    return listed


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _sentiment(cell: str, key: str, faults: Faults) -> float | None:
    """A sentiment, or None and a fault."""
    value = _number(cell)
    if abs(value) <= MOST:
        return value
    kind = "labels are no numbers" if math.isnan(value) else "labels are not from −3 to 3"
    faults.setdefault(kind, []).append(f"{key} is {cell!r}")
    return None


def _finder(root: Path) -> Callable[[Listed], tuple[Path | str, dict[str, float]]]:
    """What finds a clip's audio, or why there is none, and the stretch of it that the clip is."""
    files = audio_files(root, doubles=False)
    in_folders = AudioIndex(root, files, lambda path: f"{path.parent.name}/{stem(path)}")
    by_name = AudioIndex(root, files)

    def find(row: Listed) -> tuple[Path | str, dict[str, float]]:
        found = in_folders.find(f"{row.video}/{row.clip}")
        other = by_name.find(f"{row.video}_{row.clip}") if isinstance(found, str) else found
        if isinstance(other, str) and row.stretch and isinstance(whole := by_name.find(row.video), Path):
            return whole, row.stretch
        return (found if isinstance(other, str) else other), {}

    return find


MOSI = SentimentCorpus(name="mosi", title="CMU-MOSI", expected=MOSI_CLIPS)
MOSEI = SentimentCorpus(name="mosei", title="CMU-MOSEI")
