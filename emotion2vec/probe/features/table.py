"""Features of all clips of a run: extracted in batches, bad clips set aside, kept on disk between runs when asked.

N: clips. T: frames of all clips together. D: channels of a frame. P: channels of a clip's vector. L: layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotion2vec.corpora.contents import stretch_keys
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.probe.features.cache import FeatureCache
from emotion2vec.probe.features.extractor import ClipFeatures, Extractor
from emotion2vec.probe.progress import progress_counter
from emotion2vec.progress import ProgressCallback

CHUNK = 256
"""Clips between two writes to the cache: what an interrupt loses at most."""


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """Features of N clips; a clip that could not be read has length 0 and a vector of zeros.

    Attributes:
        vectors: (N, P) float32; P = L · D when the vectors of all layers are joined.
        frames: (T, D) float32, the clips' frames one after another, or None.
        lengths: (N,) frames of each clip; without frames 1.
        failures: position of each clip that could not be read, and why.
        layers: L, number of layers whose vectors are joined; else 1.
    """

    vectors: np.ndarray
    frames: np.ndarray | None
    lengths: np.ndarray
    failures: dict[int, str]
    layers: int = 1

    @property
    def usable(self) -> np.ndarray:
        """(N,), True = the clip was read."""
        return self.lengths > 0


def extract_table(
    clips: Sequence[Utterance],
    extractor: Extractor,
    *,
    frames: bool,
    cache: str | Path | None = None,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
) -> FeatureTable:
    """Extract the features of all clips, or take from the cache what is there.

    Args:
        clips: the clips.
        extractor: what to extract.
        frames: keep frames beside vectors; they need T · D · 4 bytes of memory.
        cache: folder of earlier results, made if absent. Clips are found again by the content of what is read of them,
            their files (and stretches of them) or texts, whatever they are called and wherever they lie, and whatever
            other clips were extracted with them.
        progress: show a progress bar.
        on_progress: called after each few clips.

    Raises:
        ManifestError: clips have vectors of different widths, or a text is read and clips have none.
    """
    if "text" in extractor.reads:
        check_texts(clips, extractor.name)
    store = None if cache is None else FeatureCache(Path(cache), extractor.fingerprint, frames)
    keys = [None] * len(clips) if store is None else _clip_keys(clips, extractor, cache)
    found: dict[int, ClipFeatures | str] = {}
    if store is not None:
        known = store.read({key for key in keys if key is not None})
        found = {position: known[key] for position, key in enumerate(keys) if key in known}
    missing = [position for position in range(len(clips)) if position not in found]
    with progress_counter(f"features {extractor.name}", len(clips), progress and bool(missing), on_progress) as count:
        count(len(found))
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            outcomes = extractor.extract([clips[position] for position in chunk])
            kept = [item if isinstance(item, str) or frames else item.without_frames() for item in outcomes]
            found.update(zip(chunk, kept, strict=True))
            if store is not None:
                store.add([(keys[position], found[position]) for position in chunk])
            count(len(chunk))
    outcomes = [found[position] for position in range(len(clips))]
    _check_widths(clips, outcomes, extractor.name)
    named = [  # where clips are named, their paths would be there twice
        item.removeprefix(f"{clip.audio}: ") if isinstance(item, str) else item
        for clip, item in zip(clips, outcomes, strict=True)
    ]
    return _pack(named, frames)


def check_texts(clips: Sequence[Utterance], name: str) -> None:
    """Find out before hours of work whether clips have the text that features are made of.

    Args:
        clips: the clips.
        name: of the feature that reads text, for messages.

    Raises:
        ManifestError: clips have no text.
    """
    lacking = [clip.file for clip in clips if not clip.text]
    if lacking:
        raise ManifestError(
            f"{name}: {len(lacking)} of {len(clips)} clips have no text: {examples(lacking)}; expected one "
            "for each, from the column text of a table or a corpus that comes with transcripts"
        )


def _clip_keys(clips: Sequence[Utterance], extractor: Extractor, cache: str | Path | None) -> list[str | None]:
    """What a clip's features are found by again: hashes of what is read of it; None where its audio cannot be read."""
    keys: list[str | None] = [""] * len(clips)
    if "audio" in extractor.reads:
        keys = stretch_keys(clips, cache)
    if "text" in extractor.reads:
        texts = (hashlib.blake2b((clip.text or "").encode(), digest_size=16).hexdigest() for clip in clips)
        keys = [None if key is None else key + text for key, text in zip(keys, texts, strict=True)]
    return keys


def _check_widths(clips: Sequence[Utterance], outcomes: Sequence[ClipFeatures | str], name: str) -> None:
    """Raise when clips have vectors of different widths, as features from several runs may."""
    widths: dict[int, list[str]] = {}
    for clip, item in zip(clips, outcomes, strict=True):
        if not isinstance(item, str):
            widths.setdefault(item.vector.size, []).append(clip.file)
    if len(widths) > 1:
        found = "; ".join(f"{width} for {len(files)}: {examples(files)}" for width, files in sorted(widths.items()))
        raise ManifestError(f"features {name}: clips have vectors of different widths, expected one: {found}")


def _pack(outcomes: Sequence[ClipFeatures | str], frames: bool) -> FeatureTable:
    """Stack the clips' arrays; without frames every clip that was read counts as one."""
    read = [item for item in outcomes if not isinstance(item, str)]
    vectors = np.zeros((len(outcomes), read[0].vector.size if read else 0), np.float32)  # (N, P)
    lengths = np.zeros(len(outcomes), np.int64)  # (N,)
    for position, item in enumerate(outcomes):
        if not isinstance(item, str):
            vectors[position] = item.vector
            lengths[position] = 1 if item.frames is None else len(item.frames)
    packed = None
    if frames and read:
        packed = np.concatenate([item.frames for item in read if item.frames is not None])  # (T, D)
    failures = {position: item for position, item in enumerate(outcomes) if isinstance(item, str)}
    layers = read[0].layers if read else 1
    return FeatureTable(vectors=vectors, frames=packed, lengths=lengths, failures=failures, layers=layers)
