"""Features of all clips of a run: extracted once, bad clips set aside, kept on disk between runs when asked.

N: clips. T: frames of all clips together. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.errors import AudioError
from emotion2vec.probe.corpora import Clip
from emotion2vec.probe.features import ClipFeatures, Extractor
from emotion2vec.probe.progress import track

CACHE_VERSION = 1
"""Raised when the same key would give other numbers."""


@dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """Features of N clips; a clip that could not be read has length 0 and a vector of zeros.

    Attributes:
        vectors: (N, P) float32.
        frames: (T, D) float32, the clips' frames one after another, or None.
        lengths: (N,) frames of each clip.
        failures: position of each clip that could not be read, and why.
    """

    vectors: np.ndarray
    frames: np.ndarray | None
    lengths: np.ndarray
    failures: dict[int, str]

    @property
    def usable(self) -> np.ndarray:
        """(N,), True = the clip was read."""
        return self.lengths > 0


def extract_table(
    clips: Sequence[Clip],
    extractor: Extractor,
    *,
    frames: bool,
    cache: str | Path | None = None,
    progress: bool = False,
) -> FeatureTable:
    """Extract the features of all clips, or take them from the cache.

    Args:
        clips: the clips.
        extractor: what to extract.
        frames: keep frames beside vectors; they need T · D · 4 bytes of memory.
        cache: folder of earlier results, made if absent; a file there is named after a hash of the extractor's
            fingerprint and of the clips' files, sizes and times of change.
        progress: show a progress bar.
    """
    target = None if cache is None else Path(cache) / f"{_cache_key(clips, extractor, frames)}.npz"
    if target is not None and (table := _load(target)) is not None:
        return table
    table = _extract(clips, extractor, frames, progress)
    if target is not None:
        _save(table, target)
    return table


def _extract(clips: Sequence[Clip], extractor: Extractor, frames: bool, progress: bool) -> FeatureTable:
    features: list[ClipFeatures | None] = []
    failures: dict[int, str] = {}
    for position, clip in enumerate(track(clips, f"features {extractor.name}", len(clips), progress)):
        try:
            found = extractor(clip.path)
        except AudioError as error:
            failures[position] = str(error)
            features.append(None)
            continue
        features.append(found if frames else ClipFeatures(found.vector, None))
    return _pack(features, failures, frames)


def _pack(features: Sequence[ClipFeatures | None], failures: dict[int, str], frames: bool) -> FeatureTable:
    """Stack the clips' arrays; without frames every clip that was read counts as one."""
    read = [item for item in features if item is not None]
    vectors = np.zeros((len(features), read[0].vector.size if read else 0), np.float32)  # (N, P)
    lengths = np.zeros(len(features), np.int64)  # (N,)
    for position, item in enumerate(features):
        if item is not None:
            vectors[position] = item.vector
            lengths[position] = 1 if item.frames is None else len(item.frames)
    packed = None
    if frames and read:
        packed = np.concatenate([item.frames for item in read if item.frames is not None])  # (T, D)
    return FeatureTable(vectors=vectors, frames=packed, lengths=lengths, failures=failures)


def _cache_key(clips: Sequence[Clip], extractor: Extractor, frames: bool) -> str:
    digest = hashlib.blake2b(f"{CACHE_VERSION} {extractor.fingerprint} {frames}".encode(), digest_size=16)
    for clip in clips:
        status = clip.path.stat() if clip.path.exists() else None
        digest.update(repr((clip.file, status and (status.st_size, status.st_mtime_ns))).encode())
    return digest.hexdigest()


def _save(table: FeatureTable, target: Path) -> None:
    """Write under a temporary name, flush to disk, then rename: a file with the final name is complete."""
    arrays: dict[str, Any] = {"vectors": table.vectors, "lengths": table.lengths}
    if table.frames is not None:
        arrays["frames"] = table.frames
    arrays["failed"] = np.array(list(table.failures), np.int64)
    arrays["reasons"] = np.array(list(table.failures.values()), np.str_)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(target)


def _load(target: Path) -> FeatureTable | None:
    """Read a cached table; a file that cannot be read counts as absent and is written anew."""
    try:
        with np.load(target, allow_pickle=False) as arrays:
            return FeatureTable(
                vectors=arrays["vectors"],
                frames=arrays.get("frames"),
                lengths=arrays["lengths"],
                failures=dict(zip(arrays["failed"].tolist(), arrays["reasons"].tolist(), strict=True)),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def nonzero_scale(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standard deviations to divide by: 1 for channels that are constant up to float32 rounding."""
    return np.where(std > 1e-6 * np.abs(mean) + 1e-30, std, 1.0)
